"""Short trainings of a recipe of which nothing is kept: for its speed, for its learning rate."""

from __future__ import annotations

import tempfile
from pathlib import Path

from brulee.pipeline.folder import RunFolder, open_run
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import attach, documents, trainer_of
from brulee.recipe import Recipe
from brulee.training.bench import TrainingSpeed, measure
from brulee.training.passes import Passes
from brulee.training.range_test import Found, range_test


def bench_training(recipe: Recipe) -> TrainingSpeed:
    """Train as the recipe says, in a temporary folder, and return the times."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(open_run(recipe, "train", Path(scratch) / "run", fresh=False))
        return measure(trainer_of(prepared))


def find_learning_rate(recipe: Recipe) -> Found:
    """Train the recipe's method briefly with a rising learning rate; see `range_test`."""
    nowhere = RunFolder(Path(recipe.runs), recipe, "train", fresh=True)
    prepared = prepare(nowhere, begin=False)
    attached = attach(prepared)
    document = documents(prepared, prepared.encoder_for(attached))
    passes = Passes(
        prepared.base,
        most=recipe.train.batch_size,
        autocast=prepared.autocast,
        noise=recipe.train.neftune_alpha,
        smoothing=recipe.train.label_smoothing,
    )
    return range_test(passes, attached, document, recipe.train)
