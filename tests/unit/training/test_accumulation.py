"""A step's loss and gradient do not depend on how its documents are cut into passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.training.events import read_events
from brulee.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
SPLITS = [(8, 1), (4, 2), (2, 4), (1, 8)]


def _gradients(trainer: Trainer, documents: list[Encoded]) -> tuple[float, list[torch.Tensor]]:
    with trainer.passes.boundary():
        loss, tokens = trainer.passes.backward(documents)
    assert tokens == sum(len(d.ids) for d in documents)
    return loss.item(), [p.grad.clone() for p in trainer.parameters if p.grad is not None]


def _assert_same(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-5)


@pytest.mark.diagonal("name", "packs")
@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_the_split_changes_neither_loss_nor_gradient(
    make_trainer: MakeTrainer, documents: list[Encoded], name: str, packs: bool
) -> None:
    found = []
    for batch_size, accumulation in SPLITS:
        trainer = make_trainer(
            name, method="full", batch_size=batch_size, accumulation=accumulation
        )
        trainer.passes.packs = trainer.passes.packs and packs
        found.append(_gradients(trainer, documents[:8]))
    assert len(found[0][1]) > 10
    for other in found[1:]:
        _assert_same(other, found[0])


def test_the_mean_of_passes_means_is_something_else(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    # What other trainers do, and what the comparison above must be able to tell apart.
    trainer = make_trainer(method="full", batch_size=1, accumulation=8)
    whole = _gradients(trainer, documents[:8])
    trainer.optimizer.zero_grad()
    alone = []
    for document in documents[:8]:
        alone.append(_gradients(trainer, [document])[0])
    assert abs(sum(alone) / 8 - whole[0]) > 1e-2
    with pytest.raises(AssertionError):
        _assert_same((whole[0], [p.grad / 8 for p in trainer.parameters]), whole)


def test_the_token_budget_of_a_pass_changes_nothing_either(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    trainer = make_trainer(method="full", batch_size=8, accumulation=1)
    whole = _gradients(trainer, documents[:8])
    for tokens in (1, 40, 70):
        trainer.passes.pass_tokens = tokens
        trainer.optimizer.zero_grad()
        _assert_same(_gradients(trainer, documents[:8]), whole)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_whole_trainings_agree_step_by_step(
    make_trainer: MakeTrainer, tmp_path: Any, name: str
) -> None:
    losses = []
    for batch_size, accumulation in SPLITS:
        folder = tmp_path / f"{batch_size}x{accumulation}"
        make_trainer(
            name, batch_size=batch_size, accumulation=accumulation, folder=folder, rate=1e-3
        ).train()
        events = read_events(folder / "events.jsonl")
        losses.append([e["loss"] for e in events if e["event"] == "step"])
    assert len(losses[0]) == 4
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], abs=1e-5)
        # Rounding has no preferred side; a bias would show in the mean before it shows above.
        residual = sum(a - b for a, b in zip(other, losses[0], strict=True)) / len(other)
        assert abs(residual) < 5e-6


def test_bfloat16_under_autocast_is_close(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    exact, _ = _gradients(make_trainer(method="full"), documents)
    rounded, gradients = _gradients(make_trainer(method="full", autocast=True), documents)
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact
    assert {g.dtype for g in gradients} == {torch.float32}
