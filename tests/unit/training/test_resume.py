"""An interrupted training, gone on with, ends in the very same bits."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.errors import InputError, StoppedError
from brulee.training import checkpoint
from brulee.training.checkpoint import newest
from brulee.training.documents import Document
from brulee.training.events import read_events
from brulee.training.trainer import Glimpse, Trainer
from brulee.training.world import ALONE

MakeTrainer = Callable[..., Trainer]
# Dropout everywhere: the random state must come back too.
CASES: list[dict[str, Any]] = [
    {"name": "llama", "options": {"dropout": 0.3}},
    {"name": "llama", "neftune_alpha": 5.0, "beta2": 0.95},
    {
        **{"name": "gpt2", "method": "full", "config": {"resid_pdrop": 0.2, "attn_pdrop": 0.2}},
        "embedding_learning_rate": 1e-4,
    },
    {"name": "t5", "method": "full", "config": {"dropout_rate": 0.2}, "weight_decay": 0.1},
    {"name": "t5", "options": {"dropout": 0.3}, "label_smoothing": 0.1},
    {"name": "t5-gated", "method": "full", "config": {"dropout_rate": 0.1}, "autocast": True},
    {"name": "bart", "method": "full", "config": {"dropout": 0.2, "decoder_layerdrop": 0.3}},
    {"name": "llama", "method": "full", "optimizer": "adafactor", "weight_decay": 0.1},
    {"name": "llama", "method": "full", "optimizer": "muon", "schedule": "wsd"},
    {"name": "llama", "optimizer": "lion", "weight_decay": 0.1, "schedule": "inverse_sqrt"},
    {
        **{"name": "llama", "method": "selective", "options": {"train": "norms"}},
        **{"schedule": "cosine_with_restarts", "num_cycles": 2, "save_every": 0.5},
    },
    {"name": "bart", "config": {"attention_dropout": 0.2, "activation_dropout": 0.1}},
]
if importlib.util.find_spec("bitsandbytes"):  # rank 128: enough values to be held in 8 bits
    CASES.append({"name": "llama", "options": {"rank": 128}, "optimizer": "adamw8bit"})
STEPS = 8  # ceil(3 epochs * 10 documents / 4)


@pytest.fixture(scope="module")
def straight(
    make_trainer_in: MakeTrainer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, torch.Tensor]]:
    """A training with dropout that nothing interrupted: its folder and what it ended in."""
    folder = tmp_path_factory.mktemp("straight")
    trainer = make_trainer_in(folder=folder, options={"dropout": 0.3}, save_every=3)
    trainer.train()
    return folder, _final(trainer)


@pytest.fixture(scope="module")
def saved(
    make_trainer_in: MakeTrainer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, torch.Tensor]]:
    """The folder of one that saved every second step, and what it ended in. To be copied."""
    folder = tmp_path_factory.mktemp("saved")
    trainer = make_trainer_in(folder=folder, save_every=2, keep_checkpoints=4)
    trainer.train()
    return folder, _final(trainer)


def _after_two_steps(saved: tuple[Path, Any], folder: Path) -> None:
    """What a training of two steps leaves of checkpoints."""
    name = "checkpoints/step-2"
    shutil.copytree(saved[0] / name, folder / name)


def _final(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: t.clone() for k, t in trainer.attached.tensors().items()}


def _numbers(folder: Path) -> list[tuple[Any, ...]]:
    """What was recorded, without the times."""
    keys = ("event", "step", "loss", "grad_norm", "lr", "tokens")
    return [tuple(e.get(k) for k in keys) for e in read_events(folder / "events.jsonl")]


def _interrupting(
    documents: list[Encoded], step: int, act: Callable[[], None]
) -> Callable[[int], Document]:
    """Documents that do something while step `step` (1-based) reads its last one."""

    def document(i: int) -> Document:
        if i == min(4 * step, 30) - 1:
            act()
        return Document(f"row {i}", documents[i % len(documents)])

    return document


def _ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def _power_cut() -> None:
    raise SystemError("power cut")


@pytest.mark.diagonal("case", "stop")
@pytest.mark.parametrize("stop", [1, 5, STEPS])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.get('method', 'lora')}-{c['name']}")
def test_ctrl_c_then_resume_gives_the_uninterrupted_weights(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    case: dict[str, Any],
    stop: int,
) -> None:
    common = {"save_every": 3, **case, "validation": tuple(documents[:2])}
    straight = make_trainer(folder=tmp_path / "straight", **common)
    straight.train()

    folder = tmp_path / "halted"
    document = _interrupting(documents, stop, _ctrl_c)
    with pytest.raises(StoppedError) as stopped:
        make_trainer(folder=folder, document=document, **common).train("brulee resume here")
    assert f"after step {stop} of {STEPS}" in str(stopped.value)
    assert str(stopped.value).endswith("Continue with: brulee resume here")

    torch.manual_seed(99)  # whatever the new process drew before it got here
    resumed = make_trainer(folder=folder, **common)
    totals = resumed.train()
    expected = _final(straight)
    for key, tensor in _final(resumed).items():
        assert torch.equal(tensor, expected[key]), key
    assert _numbers(folder) == _numbers(tmp_path / "straight")
    assert (totals.steps, totals.tokens) == (STEPS, straight.tokens)


@pytest.mark.parametrize("at", ["the end", pytest.param("the middle", marks=pytest.mark.slow)])
def test_a_stop_during_a_validation_saves_at_once_and_it_is_made_again(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    straight_validated: tuple[Path, dict[str, torch.Tensor]],
    at: str,
) -> None:
    step = 6 if at == "the middle" else STEPS
    folder = tmp_path / "halted"
    trainer = make_trainer(folder=folder, **_validated(documents))
    passed = _signal_in_validation(trainer, step)
    with pytest.raises(StoppedError, match=f"after step {step} of {STEPS}; the state is saved"):
        trainer.train()
    assert passed == [step], "it waited for the end of the validation"
    assert read_events(folder / "events.jsonl")[-1]["event"] == "step"
    # A kill after the validation was made again: it is recorded once all the same.
    killed = make_trainer(folder=folder, **_validated(documents))
    killed.validated = _killed
    with pytest.raises(SystemError):
        killed.train()
    resumed = make_trainer(folder=folder, **_validated(documents))
    resumed.train()
    assert all(torch.equal(t, straight_validated[1][k]) for k, t in _final(resumed).items())
    assert _numbers(folder) == _numbers(straight_validated[0])
    assert resumed.best.state() == newest(straight_validated[0] / "checkpoints").state["best"]


@pytest.fixture(scope="module")
def straight_validated(
    make_trainer_in: MakeTrainer,
    documents: list[Encoded],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, torch.Tensor]]:
    """A training with validations and a look at each that nothing interrupted."""
    folder = tmp_path_factory.mktemp("validated")
    trainer = make_trainer_in(folder=folder, **_validated(documents))
    trainer.train()
    return folder, _final(trainer)


def _validated(documents: list[Encoded]) -> dict[str, Any]:
    return {
        **{"options": {"dropout": 0.3}, "validate_every": 2, "save_every": 100},
        **{"validation": tuple(documents[:6]), "generate_every": 2, "patience": 9},
        "glimpse": lambda: Glimpse({"score": 1.0}, []),
    }


def _signal_in_validation(trainer: Trainer, step: int) -> list[int]:
    """Send SIGTERM in the first pass of the validation after a step; gives its passes so far."""
    losses, passed = trainer.passes.losses, []

    def passing(documents: Any) -> Iterator[tuple[float, float]]:
        for found in losses(documents):
            if trainer.step == step:
                passed.append(step)
                signal.raise_signal(signal.SIGTERM)
            yield found

    trainer.passes.losses = passing
    return passed


def _killed(*_: Any) -> None:
    raise SystemError("power cut")


def test_a_second_ctrl_c_while_the_state_is_saved_does_not_lose_it(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = checkpoint._write

    def impatient(*given: Any) -> None:
        _ctrl_c()
        write(*given)

    monkeypatch.setattr(checkpoint, "_write", impatient)
    with pytest.raises(StoppedError, match=r"after step 2 of 8; the state is saved"):
        make_trainer(document=_interrupting(documents, 2, _ctrl_c)).train()
    assert newest(tmp_path / "checkpoints").step == 2


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"dora": True, "dropout": 0.3}),
        ("full", {}),
        ("ia3", {}),
        ("bottleneck", {}),
        ("prompt", {"tokens": 3}),
        ("prefix", {"tokens": 3}),
        ("selective", {"train": "sparse", "mask": "magnitude"}),
        ("selective", {"train": "bias"}),
    ],
    ids=["dora", "full", "ia3", "bottleneck", "prompt", "prefix", "mask", "bias"],
)
def test_every_method_goes_on_from_the_middle_of_a_checkpoint(
    make_trainer: MakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    options: dict[str, Any],
) -> None:
    # Phi has the biases that one of them trains.
    common = {"name": "phi", "method": method, "options": options, "save_every": 1}
    straight = make_trainer(folder=tmp_path / "straight", **common)
    straight.train()
    save_file, written = checkpoint.save_file, []

    def cut_short(tensors: Any, path: Path) -> None:
        save_file(tensors, path)
        written.append(path)
        if len(written) == 6:  # the moments of step 3
            path.write_bytes(path.read_bytes()[:100])
            raise SystemError("power cut")

    monkeypatch.setattr(checkpoint, "save_file", cut_short)
    with pytest.raises(SystemError):
        make_trainer(folder=tmp_path / "cut", **common).train()
    resumed = make_trainer(folder=tmp_path / "cut", **common)
    resumed.train()
    expected = _final(straight)
    assert all(torch.equal(t, expected[k]) for k, t in _final(resumed).items())
    assert _numbers(tmp_path / "cut") == _numbers(tmp_path / "straight")


def test_steps_that_an_optimiser_counts_are_no_tensors_after_resuming(
    make_trainer: MakeTrainer,
) -> None:
    common: dict[str, Any] = {"method": "full", "optimizer": "adafactor", "epochs": 1.0}
    make_trainer(**common).train()
    resumed = make_trainer(**common)
    assert resumed.checkpoints.restore_newest({}) is not None
    steps = [state["step"] for state in resumed.optimizer.state.values()]
    assert {(type(step), step) for step in steps} == {(int, 3)}


def test_paged_moments_are_in_paged_memory_after_resuming(make_trainer: MakeTrainer) -> None:
    common: dict[str, Any] = {"method": "full", "epochs": 1.0}
    trained = make_trainer(**common)
    trained.train()
    resumed, pages = make_trainer(**common), []

    def page(parameter: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        pages.append(torch.zeros(parameter.shape, dtype=dtype))
        return pages[-1]

    optimizer: Any = resumed.optimizer
    optimizer.is_paged, optimizer.get_state_buffer = True, page  # as bitsandbytes' on a GPU
    assert resumed.checkpoints.restore_newest({}) is not None
    for new, old in zip(resumed.parameters, trained.parameters, strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            moment = optimizer.state[new][name]
            assert any(moment is one for one in pages), name
            assert torch.equal(moment, trained.optimizer.state[old][name])


@pytest.mark.parametrize("step", [2, 5, 7])
def test_work_lost_to_a_crash_is_done_again_and_recorded_once(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    straight: tuple[Path, dict[str, torch.Tensor]],
    step: int,
) -> None:
    common = {"options": {"dropout": 0.3}, "save_every": 3}
    folder = tmp_path / "crashed"
    with pytest.raises(SystemError, match="power cut"):
        make_trainer(
            folder=folder, document=_interrupting(documents, step, _power_cut), **common
        ).train()
    assert len(_numbers(folder)) == step - 1
    resumed = make_trainer(folder=folder, **common)
    resumed.train()
    assert all(torch.equal(t, straight[1][k]) for k, t in _final(resumed).items())
    assert _numbers(folder) == _numbers(straight[0])


def test_the_comparison_would_notice_a_forgotten_random_state(
    make_trainer: MakeTrainer,
    documents: list[Encoded],
    tmp_path: Path,
    straight: tuple[Path, dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = {"options": {"dropout": 0.3}}
    folder = tmp_path / "halted"
    with pytest.raises(StoppedError):
        make_trainer(folder=folder, document=_interrupting(documents, 4, _ctrl_c), **common).train()
    monkeypatch.setattr(torch, "set_rng_state", lambda _: None)
    resumed = make_trainer(folder=folder, **common)
    resumed.train()
    assert not all(torch.equal(t, straight[1][k]) for k, t in _final(resumed).items())


def test_the_random_state_is_that_of_the_gpu_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be the current one: train.device may say cuda:1."""
    there: Any = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 1))
    states = {there.device: torch.tensor([7], dtype=torch.uint8)}
    put: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device="cuda": states[device])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *given: put.append(given))
    held = checkpoint._random([there], ALONE)
    checkpoint._draw_on(held, [there], ALONE)
    assert put == [(states[there.device], there.device)]
    here: Any = SimpleNamespace(is_cuda=False, device=torch.device("cpu"))
    checkpoint._draw_on(held, [here], ALONE)
    assert len(put) == 1, "gone on with on a CPU"


def test_a_finished_training_is_not_trained_again(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    first = make_trainer()
    first.train()
    again = make_trainer(document=_never)
    totals = again.train()
    expected = _final(first)
    assert all(torch.equal(t, expected[k]) for k, t in _final(again).items())
    assert totals.steps == STEPS
    assert totals.tokens == first.tokens
    assert not again.base.model.training


def _never(_: int) -> Document:
    raise AssertionError("there is nothing left to read")


@pytest.mark.parametrize("damage", ["unsealed", "flipped", "cut", "zeroed seal", "no weights"])
def test_a_torn_checkpoint_is_passed_over(
    make_trainer: MakeTrainer, tmp_path: Path, saved: tuple[Path, Any], damage: str
) -> None:
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    root = tmp_path / "checkpoints"
    assert newest(root).step == STEPS
    torn = root / f"step-{STEPS}"
    _damage(torn, damage)
    assert newest(root).step == 6
    resumed = make_trainer(save_every=2, keep_checkpoints=3)
    resumed.train()
    assert all(torch.equal(t, saved[1][k]) for k, t in _final(resumed).items())
    assert newest(root).step == STEPS, "the torn one was not replaced"


def test_a_file_in_a_checkpoints_place_is_refused_by_name(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step-9").write_text("notes")
    with pytest.raises(InputError, match=r"checkpoints/step-9: a file, where the folder of a"):
        make_trainer().train()
    assert (tmp_path / "checkpoints/step-9").read_text() == "notes"


def _damage(folder: Path, how: str) -> None:
    weights, seal = folder / "weights.safetensors", folder / "state.json"
    content = bytearray(weights.read_bytes())
    if how == "unsealed":
        seal.unlink()
    elif how == "flipped":
        content[-9] ^= 1
        weights.write_bytes(content)
    elif how == "cut":
        weights.write_bytes(content[:-1])
    elif how == "zeroed seal":
        seal.write_bytes(bytes(len(seal.read_bytes())))
    else:
        weights.unlink()


@pytest.mark.parametrize("key", ["step", "sha256", "tokens", "best", "best.waited"])
def test_a_checkpoint_of_another_version_is_refused_in_a_sentence(
    make_trainer: MakeTrainer, tmp_path: Path, saved: tuple[Path, Any], key: str
) -> None:
    _after_two_steps(saved, tmp_path)
    seal = tmp_path / "checkpoints" / "step-2" / "state.json"
    state = json.loads(seal.read_text())
    inner = state["best"] if key.startswith("best.") else state
    del inner[key.split(".")[-1]]
    seal.write_text(json.dumps(state))
    message = rf"state\.json: it has no {key}; the checkpoint was written by another version"
    with pytest.raises(InputError, match=message):
        make_trainer(save_every=2).train()
    assert seal.is_file(), "what cannot be read is left where it is"


def test_a_checkpoint_of_other_parameters_is_refused_in_a_sentence(
    make_trainer: MakeTrainer, tmp_path: Path, saved: tuple[Path, Any]
) -> None:
    _after_two_steps(saved, tmp_path)
    with pytest.raises(InputError, match=r"under 0 it has a tensor of \(8, 32\), not \(4, 32\)"):
        make_trainer(save_every=2, options={"rank": 4}).train()
    with pytest.raises(InputError, match=r"weights.safetensors: it holds \d+ tensors and not \d+"):
        make_trainer(save_every=2, method="full").train()


def test_a_checkpoint_under_its_temporary_name_is_none(
    make_trainer: MakeTrainer, tmp_path: Path, saved: tuple[Path, Any]
) -> None:
    _after_two_steps(saved, tmp_path)
    root = tmp_path / "checkpoints"
    shutil.copytree(root / "step-2", root / ".step-4.tmp")
    assert newest(root).step == 2
    make_trainer(max_steps=3, save_every=1).train()
    assert not list(root.glob(".*")), "the left-over was not cleared"


@pytest.mark.parametrize("keep", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_newest_are_kept(make_trainer: MakeTrainer, tmp_path: Path, keep: int) -> None:
    make_trainer(save_every=2, keep_checkpoints=keep).train()
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [f"step-{n}" for n in (2, 4, 6, 8)[-keep:]]


def test_a_torn_checkpoint_does_not_push_out_the_ones_written_after_it(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    # With keep_checkpoints=1 the torn one counted as the newest, and what was saved was deleted.
    root = tmp_path / "checkpoints"
    (root / "step-6").mkdir(parents=True)
    make_trainer(save_every=2, keep_checkpoints=1, max_steps=4).train()
    assert newest(root).step == 4
    assert [p.name for p in root.iterdir()] == ["step-4"]


def test_no_checkpoint_means_none(tmp_path: Path) -> None:
    assert newest(tmp_path / "checkpoints") is None
