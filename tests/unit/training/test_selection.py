"""Which validation is the best one, also where a loss is not a number."""

import math

from brulee.training.selection import Best


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
