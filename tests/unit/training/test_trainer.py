"""What the loop does at each step, between steps, and when it must stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.batching import Batch
from brulee.data.encoding import Encoded
from brulee.errors import StoppedError
from brulee.methods import build_method
from brulee.methods.alongside import Alongside
from brulee.models.attention import NAME
from brulee.models.loading import Base
from brulee.progress import shown
from brulee.recipe import MethodSpec
from brulee.training.documents import Course, Document
from brulee.training.events import read_events
from brulee.training.trainer import Glimpse, Trainer
from brulee.training.world import World

MakeTrainer = Callable[..., Trainer]


def _events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(folder / "events.jsonl") if e["event"] == kind]


def test_each_step_is_recorded_with_what_it_took(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    totals = make_trainer(schedule="linear", warmup=0.0, rate=0.01).train()
    steps = _events(tmp_path, "step")
    assert [e["step"] for e in steps] == list(range(1, 9))
    read = [i % 10 for i in range(30)]  # three epochs, four documents a step, two in the last
    lengths = [[len(documents[i].ids) for i in read[s : s + 4]] for s in range(0, 30, 4)]
    assert [e["tokens"] for e in steps] == [sum(part) for part in lengths]
    assert [e["lr"] for e in steps] == pytest.approx([0.01 * (1 - s / 8) for s in range(8)])
    assert all(e["grad_norm"] > 0 and e["memory_bytes"] > 0 for e in steps)
    assert all(e["tokens_per_s"] == pytest.approx(e["tokens"] / e["seconds"]) for e in steps)
    assert totals.tokens == sum(e["tokens"] for e in steps)
    assert totals.seconds == pytest.approx(sum(e["seconds"] for e in steps))
    assert totals.peak_memory_bytes > 0


def test_the_loss_goes_down(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(epochs=20.0, rate=3e-2).train()
    losses = [e["loss"] for e in _events(tmp_path, "step")]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        ({"epochs": 1.0}, 3),
        ({"epochs": 0.5}, 2),
        ({"epochs": 2.0, "max_steps": 4}, 4),
        ({"epochs": 2.0, "max_steps": 40}, 5),
        ({"epochs": 2.0, "batch_size": 10, "accumulation": 1}, 2),
    ],
)
def test_epochs_and_max_steps_decide_the_end(
    make_trainer: MakeTrainer, train: dict[str, Any], steps: int
) -> None:
    assert make_trainer(**train).train().steps == steps


@pytest.mark.parametrize(("limit", "moved"), [(None, True), (1e-3, False)])
def test_gradients_are_clipped_to_the_limit(
    make_trainer: MakeTrainer, tmp_path: Path, limit: float | None, moved: bool
) -> None:
    seen = []
    trainer = make_trainer(max_grad_norm=limit, max_steps=1)
    take = trainer.optimizer.step

    def step() -> None:
        grads = [p.grad.flatten() for p in trainer.parameters if p.grad is not None]
        seen.append(torch.cat(grads).norm().item())
        take()

    trainer.optimizer.step = step
    trainer.train()
    (event,) = _events(tmp_path, "step")
    assert event["grad_norm"] > 0.01, "the norm is recorded before clipping"
    assert seen[0] == pytest.approx(event["grad_norm"] if limit is None else limit, rel=1e-3)


def test_validation_loss_is_the_mean_over_learned_tokens(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    held_out = tuple(documents[:3])
    trainer = make_trainer(validation=held_out, validate_every=3, options={"dropout": 0.5})
    trainer.train()
    events = _events(tmp_path, "validation")
    assert [e["step"] for e in events] == [3, 6, 8]
    total = 0.0
    for d in held_out:
        with torch.no_grad():
            logits = trainer.base.model(input_ids=torch.tensor([d.ids])).logits[0]
        before = logits[len(d.prompt) - 1 : -1]
        total += F.cross_entropy(before, torch.tensor(d.completion), reduction="sum").item()
    expected = total / sum(d.learned for d in held_out)
    assert events[-1]["loss"] == pytest.approx(expected, abs=1e-5)


def test_validation_leaves_the_model_in_training_and_no_gradient(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    trainer = make_trainer(validation=tuple(documents[:2]))
    trainer.base.model.train()
    trainer.validation_loss()
    assert trainer.base.model.training
    assert all(p.grad is None for p in trainer.parameters)


def test_processes_add_up_their_validation_losses_where_the_model_is(
    make_trainer: MakeTrainer, documents: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL, the library between GPUs, knows nothing of a CPU's memory."""
    trainer = make_trainer(validation=tuple(documents[:2]))
    trainer.world = World(0, 2)
    where: list[str] = []

    def add(_: World, tensor: torch.Tensor) -> torch.Tensor:
        where.append(tensor.device.type)
        return torch.tensor([8.0, 4.0, 0.0], dtype=tensor.dtype)

    monkeypatch.setattr(World, "sum", add)
    monkeypatch.setattr(trainer.passes, "losses", lambda _: [(4.0, 2)])
    monkeypatch.setattr(Base, "device", property(lambda _: torch.device("meta")))
    assert trainer.validation_loss() == 2.0
    assert where == ["meta"]


def test_by_default_it_validates_and_saves_once_an_epoch(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    make_trainer(validation=tuple(documents[:1]), keep_checkpoints=9).train()
    assert [e["step"] for e in _events(tmp_path, "validation")] == [3, 6, 8]
    saved = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step-3", "step-6", "step-8"]


@pytest.mark.parametrize(
    ("every", "more", "steps"),
    [
        # Ten documents in threes: an epoch of four steps, and the third one ends with step 10.
        (0.5, {"batch_size": 3}, [2, 4, 6, 8, 10]),
        (0.001, {"batch_size": 3, "epochs": 1.0}, [1, 2, 3, 4]),
        # Steps of one document: thirds of ten are the steps at which they are over.
        (1 / 3, {"batch_size": 1, "epochs": 2.4}, [4, 7, 10, 14, 17, 20, 24]),
        (0.5, {"batch_size": 1, "epochs": 0.7}, [5, 7]),
        (0.25, {"batch_size": 1, "max_steps": 4}, [3, 4]),
    ],
)
def test_a_share_of_an_epoch_comes_as_often_in_each(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    every: float,
    more: dict[str, Any],
    steps: list[int],
) -> None:
    often = {"validate_every": every, "save_every": every, "generate_every": every}
    given = {"accumulation": 1, "keep_checkpoints": 99, **often, **more}
    trainer = make_trainer(validation=tuple(documents[:1]), **given)
    trainer.glimpse = lambda: Glimpse({}, [])
    trainer.train()
    assert [e["step"] for e in _events(tmp_path, "validation")] == steps
    assert [e["step"] for e in _events(tmp_path, "completions")] == steps
    saved = {int(p.name.removeprefix("step-")) for p in (tmp_path / "checkpoints").iterdir()}
    assert saved == set(steps)
    assert trainer.course.saves(every) == len(steps)


@pytest.mark.parametrize("parts", range(2, 40))
@pytest.mark.parametrize("steps", [1, 7, 100, 3_001])
def test_a_part_that_no_float_holds_ends_with_the_epoch(parts: int, steps: int) -> None:
    course = Course(per_step=1, per_epoch=steps, documents=2 * steps, steps=2 * steps)
    for last in (steps, 2 * steps):
        assert course.due(last, 1 / parts)
    found = [step for step in range(1, 2 * steps + 1) if course.due(step, 1 / parts)]
    assert len(found) == 2 * min(parts, steps) == course.saves(1 / parts)


def test_the_attention_and_the_mode_are_put_back(make_trainer: MakeTrainer) -> None:
    seen = []
    trainer = make_trainer(max_steps=1)
    before = trainer.base.model.config._attn_implementation
    loss = trainer.passes.loss

    def watching(batch: Batch) -> torch.Tensor:
        model = trainer.base.model
        seen.append((model.config._attn_implementation, model.training))
        return loss(batch)

    trainer.passes.loss = watching
    trainer.train()
    assert set(seen) == {(NAME, True)}
    assert trainer.base.model.config._attn_implementation == before
    assert not trainer.base.model.training


def _poison(trainer: Trainer, token: int, value: float) -> None:
    """The loss of any batch that holds the token becomes `value`, and so does its gradient."""
    loss = trainer.passes.loss

    def poisoned(batch: Batch) -> torch.Tensor:
        found = loss(batch)
        return found * value if token in batch.inputs["input_ids"] else found

    trainer.passes.loss = poisoned


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_its_rows(
    make_trainer: MakeTrainer, tmp_path: Path, value: float, said: str
) -> None:
    clean = [Encoded.ending((7, 8, 9, 10), 2), Encoded.ending((11, 12, 13), 1)]
    bad = Encoded.ending((7, 250, 9), 1)

    def document(i: int) -> Document:
        return Document(f"chats.jsonl, line {i + 1}", bad if i == 9 else clean[i % 2])

    trainer = make_trainer(document=document, save_every=2, max_skips=1)
    _poison(trainer, 250, value)
    with pytest.raises(StoppedError) as stopped:
        trainer.train()
    sentence = str(stopped.value)
    assert f"step 3: the loss is {said}" in sentence
    rows = [f"chats.jsonl, line {n}" for n in (9, 10, 11, 12)]
    assert all(row in sentence for row in rows)
    assert "line 8" not in sentence
    assert "step 2 is kept" in sentence
    assert "train.learning_rate" in sentence
    assert [e["step"] for e in _events(tmp_path, "step")] == [1, 2]
    (event,) = _events(tmp_path, "stopped")
    assert event["rows"] == rows
    assert all(torch.isfinite(p).all() for p in trainer.parameters), "the step was taken"
    assert trainer.step == 2


def test_only_some_of_many_rows_are_named_in_the_sentence(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(batch_size=10, accumulation=1)
    trainer.passes.loss = lambda _: torch.tensor(float("nan"), requires_grad=True)
    with pytest.raises(StoppedError) as stopped:
        trainer.train()
    assert str(stopped.value).count("chats.jsonl") == 8
    assert "all 10 in" in str(stopped.value)


def test_weights_that_a_step_ruined_are_never_saved(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(save_every=1)
    take = trainer.optimizer.step

    def step() -> None:
        take()
        if trainer.step == 1:
            trainer.parameters[3].data.fill_(float("inf"))

    trainer.optimizer.step = step
    with pytest.raises(StoppedError, match=r"step 2: .* not finite.* step 1 is kept"):
        trainer.train()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-1"]


def test_a_second_ctrl_c_stops_at_once_and_handlers_are_put_back(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    def document(i: int) -> Document:
        signal.raise_signal(signal.SIGINT)
        return Document(str(i), documents[i])

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(document=document).train()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not (tmp_path / "checkpoints").exists()


def test_sigterm_is_answered_like_ctrl_c(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    def document(i: int) -> Document:
        if i == 5:
            signal.raise_signal(signal.SIGTERM)
        return Document(str(i), documents[i % 10])

    with pytest.raises(StoppedError, match=r"after step 2 of 8; the state is saved"):
        make_trainer(document=document).train()
    assert (tmp_path / "checkpoints" / "step-2" / "state.json").is_file()


@pytest.mark.parametrize(
    ("name", "method", "options", "moved"),
    [
        ("llama", "full", {}, {"model.embed_tokens.weight", "lm_head.weight"}),
        ("t5", "full", {}, {"shared.weight"}),
        (
            *("llama", "lora", {"target": ["all-linear", "embeddings", "lm_head"]}),
            {"model.embed_tokens.lora_embedding_A", "lm_head.lora_B"},
        ),
        ("gpt2", "selective", {"train": "embeddings"}, {"transformer.wte.weight_tuned"}),
    ],
)
def test_token_tables_move_at_their_own_rate(
    make_trainer: MakeTrainer, name: str, method: str, options: dict[str, Any], moved: set[str]
) -> None:
    rates = {"rate": 1e-30, "embedding_learning_rate": 1e-2}
    trainer = make_trainer(name, method=method, options=options, max_steps=1, **rates)
    before = {n: p.detach().clone() for n, p in trainer.base.model.named_parameters()}
    trainer.train()
    after = dict(trainer.base.model.named_parameters())
    assert {n for n, p in before.items() if (p - after[n]).abs().max() > 1e-6} == moved


def test_rows_and_whole_modules_of_tokens_move_at_that_rate(make_base: Callable[..., Base]) -> None:
    base = make_base("llama")
    alongside = Alongside(ids=(7,), whole=("lm_head", "norm"))
    attached = alongside.attach(build_method(MethodSpec()), base.model)
    moved = {id(p) for p in attached.of_tokens()}
    by_name = {g.name: {id(p) for p in g.parameters} for g in attached.groups()}
    assert moved >= by_name["tokens"]
    assert moved & by_name["whole"]
    assert not moved & (by_name["whole vectors"] | by_name["lora"])


def test_a_rate_for_token_tables_that_are_not_trained_is_told(
    make_trainer: MakeTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown(True):
        make_trainer(embedding_learning_rate=1e-5)
    assert "embedding_learning_rate: no token embedding and no head" in capsys.readouterr().err
