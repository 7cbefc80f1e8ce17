"""When waiting for a lower validation loss can end a training, and when it never can."""

from __future__ import annotations

import pytest

from brulee.training.selection import Best, idle_patience


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
    idle = idle_patience(patience, steps, every)
    assert (idle is None) == (ends < steps)


def test_the_interval_that_is_named_is_the_longest_that_helps() -> None:
    said = idle_patience(2, 31, 12)
    assert said is not None
    assert "set train.validate_every to 10 or less." in said
    assert idle_patience(2, 31, 10) is None
    assert idle_patience(2, 31, 11) is not None
    few = idle_patience(3, 4, 1)
    assert few is not None
    assert "validated every step, it could at step 4, and there are 4; set it lower" in few
