"""What trained.json and results.json say of a training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from brulee.pipeline.trained import course_of
from brulee.reporting.results import Training
from brulee.training.selection import Best
from brulee.training.totals import Totals


def totals(**changes: Any) -> Totals:
    values = {"steps": 9, "tokens": 100, "seconds": 1.0, "peak_memory_bytes": 1, "planned": 12,
              "kept": 9, "early": True, "best": Best()}  # fmt: skip
    return Totals(**values | changes)


def test_what_was_skipped_jumped_and_halved_is_counted() -> None:
    kinds = ["step", "skipped", "step", "spike", "validation", "skipped", "out_of_memory"]
    went = course_of(totals(), [{"event": kind} for kind in kinds])
    assert went == Training(
        steps=9, planned_steps=12, kept_step=9, stopped_early=True, skipped_steps=2,
        loss_spikes=1, out_of_memory=1,
    )  # fmt: skip


@pytest.mark.parametrize(("loss", "told"), [(0.25, (6, 0.25)), (math.nan, (None, None))])
def test_a_best_loss_that_is_no_number_is_left_out(loss: float, told: tuple[Any, Any]) -> None:
    went = course_of(totals(best=Best(loss=loss, step=6)), [])
    assert (went.best_step, went.best_validation_loss) == told
