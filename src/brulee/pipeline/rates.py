"""The learning-rate finder for a recipe; nothing is written."""

from __future__ import annotations

from pathlib import Path

from brulee.pipeline.folder import RunFolder
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import attach, documents
from brulee.recipe import Recipe
from brulee.training.passes import Passes
from brulee.training.range_test import Found, range_test


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
