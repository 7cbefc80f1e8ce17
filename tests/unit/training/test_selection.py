"""Which validation is the best one, and when waiting for a better one can end a training."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from brulee.training.selection import Best, idle_patience


def test_the_lowest_loss_is_the_best_and_others_are_waited_through() -> None:
    best = Best()
    assert [best.see(step, loss) for step, loss in enumerate((3.0, 2.0, 2.0, 4.0), 1)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert (best.step, best.loss, best.waited) == (2, 2.0, 2)
    assert best.told() == "lowest at step 2 (2.0000)"


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    best = Best()
    assert not best.see(1, math.nan)
    assert (best.step, best.waited) == (0, 1)
    assert best.told() == "not a number at any step"
    assert best.see(2, 1.0)
    assert not best.see(3, math.nan)
    assert (best.step, best.loss, best.waited) == (2, 1.0, 1)


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("steps", [1, 4, 12, 31])
def test_patience_is_idle_where_no_loss_would_end_the_training(
    patience: int, steps: int, every: int
) -> None:
    best, ends = Best(), steps
    for step in range(every, steps, every):
        best.see(step, float(step))  # it only ever rises
        if best.waited >= patience:
            ends = step
            break
    idle = idle_patience(patience, steps, Fraction(every))
    assert (idle is None) == (ends < steps)


def test_the_interval_that_is_named_is_the_longest_that_helps() -> None:
    said = idle_patience(2, 31, Fraction(12))
    assert said is not None
    assert "set train.validate_every to 10 or less." in said
    assert idle_patience(2, 31, Fraction(10)) is None
    assert idle_patience(2, 31, Fraction(11)) is not None
    few = idle_patience(3, 4, Fraction(1))
    assert few is not None
    assert "validated every step, it could at step 4, and there are 4; set it lower" in few
    # A quarter of an epoch of ten steps: validated after 3, 5, 8, 10 ...
    quarter = Fraction(5, 2)
    assert idle_patience(2, 9, quarter) is None
    told = idle_patience(2, 8, quarter)
    assert told is not None
    assert "validated every 2.5 steps, it could at step 8, and there are 8; set" in told
