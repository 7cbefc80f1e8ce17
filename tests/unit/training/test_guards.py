"""Steps that must not be taken, memory that runs out, losses that jump, when waiting ends."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.data.batching import Batch
from brulee.data.encoding import Encoded
from brulee.errors import StoppedError
from brulee.models.allocator import is_exhaustion
from brulee.training.checkpoint import newest
from brulee.training.documents import Document
from brulee.training.events import EventLog, read_events
from brulee.training.guards import Guards
from brulee.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
BAD = 250  # a token that no other document has


def events_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(folder / "events.jsonl") if e["event"] == kind]


def with_bad(documents: Sequence[Encoded], rows: set[int]) -> Callable[[int], Document]:
    """The documents, of which some hold the token that spoils the loss."""
    bad = Encoded.ending((7, BAD, 9), 1)
    clean = Encoded.ending((7, 8, 9, 10), 2)
    return lambda i: Document(f"row {i}", bad if i in rows else clean)


def spoil(trainer: Trainer, value: float) -> None:
    """Multiply the loss of any batch that holds the bad token."""
    loss = trainer.passes.loss

    def spoiled(batch: Batch) -> torch.Tensor:
        found = loss(batch)
        return found * value if BAD in batch.inputs["input_ids"] else found

    trainer.passes.loss = spoiled


def test_a_step_that_is_not_finite_is_skipped_and_counted(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    # Steps 2 and 4 of 8 are spoilt: never two in a row, so two are allowed.
    trainer = make_trainer(document=with_bad(documents, {5, 14}), max_skips=2)
    spoil(trainer, math.nan)
    assert trainer.train().steps == 8
    assert [(e["step"], e["in_a_row"]) for e in events_of(tmp_path, "skipped")] == [(2, 1), (4, 1)]
    assert events_of(tmp_path, "skipped")[0]["rows"] == ["row 4", "row 5", "row 6", "row 7"]
    assert [e["step"] for e in events_of(tmp_path, "step")] == [1, 3, 5, 6, 7, 8]
    assert all(torch.isfinite(p).all() for p in trainer.parameters)


def test_a_skipped_step_leaves_weights_and_moments_as_they_were(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    whole = make_trainer(folder=tmp_path / "a", max_steps=1, epochs=9.0, schedule="constant")
    whole.train()
    skipping = make_trainer(
        folder=tmp_path / "b",
        max_steps=2,
        epochs=9.0,
        schedule="constant",
        document=lambda i: (
            Document("bad", Encoded.ending((7, BAD, 9), 1)) if i >= 4 else whole.document(i)
        ),
    )
    spoil(skipping, math.inf)
    # The last step of a training may not be skipped: nothing would show what the weights are worth.
    with pytest.raises(StoppedError, match="step 2: the loss is inf; its rows: bad"):
        skipping.train()
    for a, b in zip(whole.parameters, skipping.parameters, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(
            whole.optimizer.state[a]["exp_avg"], skipping.optimizer.state[b]["exp_avg"]
        )


def test_too_many_in_a_row_stop_with_the_rows_named(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    trainer = make_trainer(document=with_bad(documents, set(range(8, 30))), save_every=2)
    spoil(trainer, math.nan)
    with pytest.raises(StoppedError) as stopped:
        trainer.train()
    sentence = str(stopped.value)
    assert "step 5: the loss is nan, as in the 2 before it; its rows: row 16; row 17" in sentence
    assert "The checkpoint of step 4 is kept" in sentence
    assert [e["step"] for e in events_of(tmp_path, "skipped")] == [3, 4]
    assert [e["step"] for e in events_of(tmp_path, "stopped")] == [5]


def test_a_damaged_model_is_named_and_no_row_blamed(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(max_skips=2)
    frozen = [(n, p) for n, p in trainer.base.model.named_parameters() if not p.requires_grad]
    name, tensor = frozen[3]
    with torch.no_grad():
        tensor.view(-1)[5] = torch.nan
    with pytest.raises(StoppedError, match=f"step 2: the loss is nan; the model's tensor '{name}'"):
        trainer.train()


def test_skips_in_a_row_are_remembered_over_a_resume(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    trainer = make_trainer(document=with_bad(documents, set(range(8, 30))), save_every=2)
    spoil(trainer, math.nan)
    with pytest.raises(StoppedError):
        trainer.train()
    again = make_trainer(document=with_bad(documents, set(range(8, 30))), save_every=2)
    spoil(again, math.nan)
    with pytest.raises(StoppedError, match="step 5"):
        again.train()


def test_a_gradient_that_is_not_finite_is_skipped_too(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(max_skips=1)
    loss = trainer.passes.loss

    def steep(batch: Batch) -> torch.Tensor:
        # The square root's slope at zero is infinite, its value is not.
        found = loss(batch)
        return found + (found - found.detach()).abs().sqrt()

    trainer.passes.loss = steep
    with pytest.raises(StoppedError, match="step 1: the gradient norm is nan"):
        trainer.train()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_memory_that_runs_out_halves_the_passes_once(
    make_trainer: MakeTrainer, tmp_path: Path, capsys: Any, error: Exception
) -> None:
    straight = make_trainer(folder=tmp_path / "straight", batch_size=4, accumulation=1)
    straight.train()
    trainer = make_trainer(folder=tmp_path / "scarce", batch_size=4, accumulation=1)
    before, seen = trainer.passes.loss, []

    def scarce(batch: Batch) -> torch.Tensor:
        seen.append(batch.tokens)
        if batch.tokens > 70:
            raise error
        return before(batch)

    trainer.passes.loss = scarce
    trainer.train()
    (event,) = events_of(tmp_path / "scarce", "out_of_memory")
    assert "step 1: out of memory; passes now hold" in event["reason"]
    assert "still learns from 4 documents" in event["reason"]
    assert sum(tokens > 70 for tokens in seen) == 1
    losses = [
        [e["loss"] for e in events_of(tmp_path / name, "step")] for name in ("straight", "scarce")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5), "the effective batch changed"


def test_where_a_pass_is_one_document_layers_keep_less(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"batch_size": 1, "accumulation": 1, "epochs": 1.0}
    straight = make_trainer(folder=tmp_path / "straight", **how)
    straight.train()
    trainer = make_trainer(folder=tmp_path / "scarce", **how)
    before = trainer.passes.loss

    def scarce(batch: Batch) -> torch.Tensor:
        if not trainer.passes.recomputes:
            raise MemoryError
        return before(batch)

    trainer.passes.loss = scarce
    trainer.train()
    (event,) = events_of(tmp_path / "scarce", "out_of_memory")
    assert "step 1: out of memory; layers now keep less" in event["reason"]
    for a, b in zip(straight.parameters, trainer.parameters, strict=True):
        assert torch.equal(a, b)
    again = make_trainer(folder=tmp_path / "scarce", **how)
    again.train()
    assert again.passes.recomputes, "a resumed training would run out of memory once more"


_DROPPING: list[dict[str, Any]] = [
    {"name": "t5", "method": "full", "config": {"dropout_rate": 0.2}},
    {"name": "t5-gated", "config": {"dropout_rate": 0.2}},
    {"name": "llama", "options": {"dropout": 0.3}},
]


@pytest.mark.parametrize("how", _DROPPING, ids=["t5-full", "t5-lora", "llama"])
def test_a_step_that_is_tried_again_drops_what_it_would_have_dropped(
    make_trainer: MakeTrainer, tmp_path: Path, how: dict[str, Any]
) -> None:
    how = {**how, "batch_size": 1, "accumulation": 1, "epochs": 1.0}
    straight = make_trainer(folder=tmp_path / "straight", **how)
    straight.train()
    trainer = make_trainer(folder=tmp_path / "scarce", **how)
    before = trainer.passes.loss

    def scarce(batch: Batch) -> torch.Tensor:
        found = before(batch)  # what was dropped was drawn when memory ran out
        if trainer.step == 4 and not trainer.passes.recomputes:
            raise MemoryError
        return found

    trainer.passes.loss = scarce
    trainer.train()
    assert trainer.passes.recomputes
    for a, b in zip(straight.parameters, trainer.parameters, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_smaller_passes_drop_what_they_would_have_dropped_from_the_start(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"batch_size": 4, "accumulation": 1, "config": {"dropout_rate": 0.2}}
    trainer = make_trainer("t5", folder=tmp_path / "scarce", **how)
    before = trainer.passes.loss

    def scarce(batch: Batch) -> torch.Tensor:
        found = before(batch)
        if not trainer.relief.used:
            raise MemoryError
        return found

    trainer.passes.loss = scarce
    trainer.train()
    small = make_trainer("t5", folder=tmp_path / "small", **how)
    small.passes.pass_tokens = trainer.passes.pass_tokens
    small.train()
    for a, b in zip(small.parameters, trainer.parameters, strict=True):
        assert torch.equal(a, b)


class _Hoard:
    """Recordings that leave no memory for a pass."""

    keeps, replayed = True, 0

    def gradient(self, *_: Any) -> None:
        raise MemoryError


def test_memory_that_runs_out_is_first_taken_from_recorded_passes(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(batch_size=4, accumulation=1)
    room, hoard = trainer.passes.pass_tokens, _Hoard()
    trainer.passes._captured = hoard  # type: ignore[assignment]
    kept = weakref.ref(hoard)
    del hoard
    trainer.train()
    (event,) = events_of(tmp_path, "out_of_memory")
    assert "step 1: out of memory; passes are no longer replayed" in event["reason"]
    assert trainer.passes.pass_tokens == room, "there was enough without them"
    assert not trainer.passes.recomputes
    assert kept() is None


def test_memory_that_runs_out_again_stops(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Passes are halved once, then layers recompute."""
    trainer = make_trainer(batch_size=4, accumulation=1)

    def never(_: Batch) -> torch.Tensor:
        raise MemoryError

    trainer.passes.loss = never
    with pytest.raises(StoppedError, match=r"step 1: out of memory .* train.max_length"):
        trainer.train()
    halved, recomputed = (event["reason"] for event in events_of(tmp_path, "out_of_memory"))
    assert "passes now hold" in halved
    assert "layers now keep less" in recomputed


def test_other_errors_are_not_taken_for_exhaustion(make_trainer: MakeTrainer) -> None:
    assert is_exhaustion(RuntimeError("could not create a primitive")), "a product of oneDNN"
    handle = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    assert is_exhaustion(RuntimeError(handle)), "a workspace of cuBLAS"
    assert not is_exhaustion(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_exhaustion(ValueError("out of memory"))
    trainer = make_trainer()

    def broken(_: Batch) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    trainer.passes.loss = broken
    with pytest.raises(RuntimeError, match="shapes"):
        trainer.train()


def test_a_jump_of_the_loss_is_told_with_its_rows(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    guards = Guards(log, 3, 1e-3)

    def rows() -> list[str]:
        return ["row 1"]

    noise = [0.1 * ((7 * i) % 5) for i in range(40)]
    for step, extra in enumerate(noise, 1):
        guards.passed(step, 2.0 + extra, rows)
    assert not events_of(tmp_path, "spike"), "ordinary noise is no spike"
    guards.passed(41, 4.5, rows)
    (event,) = events_of(tmp_path, "spike")
    assert (event["step"], event["loss"], event["rows"]) == (41, 4.5, ["row 1"])
    assert event["usual"] == pytest.approx(2.2)


def test_of_losses_that_hardly_vary_a_small_rise_is_no_jump(tmp_path: Path) -> None:
    guards = Guards(EventLog(tmp_path / "events.jsonl"), 3, 1e-3)
    for step in range(1, 31):
        guards.passed(step, 2.0 + 0.001 * (step % 3), lambda: ["row 1"])
    guards.passed(31, 2.6, lambda: ["row 1"])  # 400 of their deviations, and less than a third
    assert not events_of(tmp_path, "spike")
    guards.passed(32, 2.7, lambda: ["row 1"])
    assert [e["step"] for e in events_of(tmp_path, "spike")] == [32]


def test_losses_before_a_resume_say_what_is_usual(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for step in range(1, 31):
        log.write("step", step=step, loss=2.0)
    guards = Guards(log, 3, 1e-3)
    guards.go_on(0, read_events(log.path))
    guards.passed(31, 9.0, lambda: ["row 1"])
    assert len(events_of(tmp_path, "spike")) == 1


def rising(trainer: Trainer, losses: Sequence[float]) -> None:
    """Give these validation losses one after the other."""
    given = iter(losses)
    trainer.validation_loss = lambda: next(given)  # type: ignore[method-assign]


@pytest.mark.parametrize("keep_best", [False, True])
def test_waiting_ends_and_the_best_weights_are_taken(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path, keep_best: bool
) -> None:
    common: dict[str, Any] = {"epochs": 9.0, "schedule": "constant", "warmup": 0.0}
    to_best = make_trainer(folder=tmp_path / "best", max_steps=2, **common)
    to_best.train()
    trainer = make_trainer(
        folder=tmp_path / "whole",
        **common,
        validation=tuple(documents[:1]),
        validate_every=1,
        save_every=1,
        patience=2,
        keep_best=keep_best,
    )
    rising(trainer, [3.0, 2.0, 2.5, 2.1, 9.9])
    assert trainer.train().steps == 4
    (event,) = events_of(tmp_path / "whole", "early_stop")
    assert event["step"] == 4
    assert "the validation loss was lowest at step 2 (2.0000)" in event["reason"]
    equal = [torch.equal(a, b) for a, b in zip(to_best.parameters, trainer.parameters, strict=True)]
    assert all(equal) if keep_best else not any(equal)
    best = newest(tmp_path / "whole/checkpoints/best")
    assert (best.step if best else None) == (2 if keep_best else None)


def test_a_training_that_stopped_early_is_not_gone_on_with(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    common: dict[str, Any] = {
        "validation": tuple(documents[:1]),
        "validate_every": 1,
        "patience": 1,
        "keep_best": True,
    }
    first = make_trainer(**common)
    rising(first, [3.0, 3.5])
    first.train()
    again = make_trainer(document=never_read, **common)
    assert again.train().steps == 2
    for a, b in zip(first.parameters, again.parameters, strict=True):
        assert torch.equal(a, b)


def test_a_best_checkpoint_stays_until_one_to_go_on_from_names_another(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    """Work lost to a kill may validate otherwise when it is done again by other processes."""

    def cut_in_step_8(i: int) -> Document:
        if i == 7 * 4:
            raise SystemError("power cut")
        return Document(f"row {i}", documents[i % len(documents)])

    common: dict[str, Any] = {
        **{"validation": tuple(documents[:1]), "validate_every": 1, "save_every": 4},
        "keep_best": True,
    }
    first = make_trainer(**common, document=cut_in_step_8)
    rising(first, [9.0, 3.0, 5.0, 4.0, 2.0, 1.0, 1.5])
    with pytest.raises(SystemError):
        first.train()
    bests = tmp_path / "checkpoints/best"
    assert sorted(folder.name for folder in bests.iterdir()) == ["step-2", "step-6"]
    again = make_trainer(**common)
    rising(again, [3.1, 3.2, 3.3, 3.4])
    assert again.train().kept == 2
    assert [folder.name for folder in bests.iterdir()] == ["step-2"]


def never_read(_: int) -> Document:
    raise AssertionError("there is nothing left to read")


def test_a_best_checkpoint_that_is_damaged_is_told(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    common: dict[str, Any] = {"validation": tuple(documents[:1]), "keep_best": True}
    make_trainer(**common).train()
    (weights,) = (tmp_path / "checkpoints/best").glob("*/weights.safetensors")
    weights.unlink()
    with pytest.raises(StoppedError, match="validated best, is damaged or missing"):
        make_trainer(**common).train()
