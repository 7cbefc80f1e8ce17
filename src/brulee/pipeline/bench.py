"""A recipe's training, timed and thrown away."""

from __future__ import annotations

import tempfile
from pathlib import Path

from brulee.pipeline.folder import open_run
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import trainer_of
from brulee.recipe import Recipe
from brulee.training.bench import Measured, measure


def bench_training(recipe: Recipe) -> Measured:
    """Train as the recipe says, in a folder that is gone afterwards, and keep the times."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(open_run(recipe, "train", Path(scratch) / "run", fresh=False))
        return measure(trainer_of(prepared))
