"""Lengths that a recipe leaves to its model."""

from __future__ import annotations

from typing import Any

from brulee.models.configuration import model_config, model_name
from brulee.models.rope import longest
from brulee.recipe import Recipe


def within_context(recipe: Recipe) -> Recipe:
    """The recipe with lengths that it does not give no longer than its model can read.

    Raises InputError if the model's configuration cannot be read.
    """
    train, generation = recipe.train, recipe.evaluate.generation
    if all(
        key in spec.model_fields_set
        for spec, key in ((train, "max_length"), (generation, "max_new_tokens"))
    ):
        return recipe
    base = recipe.base
    with recipe.source.placing():
        config = model_config(model_name(recipe), base.revision, recipe.rope_scaling)
    context = longest(config.get_text_config())
    if context is None:
        return recipe
    return recipe.model_copy(
        update={
            "train": _at_most(train, "max_length", context),
            "evaluate": recipe.evaluate.model_copy(
                update={"generation": _at_most(generation, "max_new_tokens", context // 2)}
            ),
        }
    )


def _at_most(spec: Any, key: str, most: int) -> Any:
    if key in spec.model_fields_set or getattr(spec, key) <= most:
        return spec
    return spec.model_copy(update={key: most})
