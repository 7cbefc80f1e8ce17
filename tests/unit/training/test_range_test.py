"""What the range test reads from the losses that it saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from brulee.errors import BruleeError, InputError
from brulee.training.range_test import range_test, smoothed, suggest
from brulee.training.trainer import Trainer


def test_a_loss_that_stays_is_its_own_mean_from_the_first_step_on() -> None:
    """An exponential mean that begins at zero would seem to rise, and no rate to lower the loss."""
    assert smoothed([3.0] * 6) == pytest.approx([3.0] * 6)


def test_a_mean_weighs_the_last_loss_by_a_fifth_once_there_are_many() -> None:
    assert smoothed([1.0] * 60 + [2.0])[-1] == pytest.approx(1.2, abs=1e-4)


def test_the_rate_of_the_steepest_fall_is_suggested() -> None:
    losses = [3.0, 3.0, 3.0, 2.9, 2.5, 1.9, 1.6, 1.5, 1.6, 4.0]
    rates = [10.0 ** (i - 6) for i in range(len(losses))]
    found = suggest(rates, losses)
    assert found.suggestion == rates[4]  # from 3.0 two steps before to 1.6 two steps after
    assert (found.rates, found.losses) == (tuple(rates), tuple(losses))


def test_a_fall_after_the_lowest_loss_is_no_good_rate() -> None:
    losses = [3.0, 2.9, 2.8, 2.0, 1.0, 9.0, 8.0, 3.0, 2.0, 1.5]
    assert suggest([float(i) for i in range(10)], losses).suggestion <= 4


@pytest.mark.parametrize("losses", [[1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [2.0, 1.0], [2.0] * 8])
def test_losses_that_fall_nowhere_suggest_nothing(losses: list[float]) -> None:
    with pytest.raises(BruleeError, match="no learning rate lowered the loss"):
        suggest([1.0] * len(losses), losses)


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (True, r"any training; the model's tensor 'model\.norm\.weight', which is not trained, h"),
        (False, "any training; look at its rows: chats.jsonl, line 1; chats.jsonl, line 2; "),
    ],
)
def test_a_loss_that_is_none_from_the_start_is_told(
    make_trainer: Callable[..., Trainer], damaged: bool, says: str
) -> None:
    trainer = make_trainer()
    if damaged:
        trainer.base.model.model.norm.weight.data[0] = float("nan")
    else:
        trainer.passes.loss = lambda _: torch.tensor(float("nan"), requires_grad=True)
    with pytest.raises(BruleeError, match="the loss is nan before " + says):
        range_test(trainer.passes, trainer.attached, trainer.document, trainer.spec)


def test_a_gradient_that_is_never_clipped_can_be_tried(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer(max_grad_norm=None)
    found = range_test(trainer.passes, trainer.attached, trainer.document, trainer.spec, steps=20)
    assert found.suggestion > 0


def test_what_has_a_rate_of_its_own_is_not_trained_at_those_tried(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer(method="full", embedding_learning_rate=1e-30)
    (words, *_), model = trainer.attached.of_tokens(), trainer.base.model
    norm = model.model.norm.weight
    before = words.detach().clone(), norm.detach().clone()
    range_test(trainer.passes, trainer.attached, trainer.document, trainer.spec, steps=20)
    assert torch.equal(words, before[0])
    assert not torch.equal(norm, before[1])


def test_no_rate_is_looked_for_where_all_that_is_trained_has_one(
    make_trainer: Callable[..., Trainer],
) -> None:
    embeddings = {"train": "embeddings"}
    trainer = make_trainer(method="selective", options=embeddings, embedding_learning_rate=1e-4)
    with pytest.raises(InputError, match="it is the rate of all that is trained; leave it out"):
        range_test(trainer.passes, trainer.attached, trainer.document, trainer.spec)
