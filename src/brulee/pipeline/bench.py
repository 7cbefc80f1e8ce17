"""Benchmark of a recipe's training; the result is discarded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from brulee.pipeline.folder import open_run
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import trainer_of
from brulee.recipe import Recipe
from brulee.training.bench import Measured, measure


def bench_training(recipe: Recipe) -> Measured:
    """Train as the recipe says, in a temporary folder, and return the times."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(open_run(recipe, "train", Path(scratch) / "run", fresh=False))
        return measure(trainer_of(prepared))
