"""The base model of a recipe: quantised, scaled and extended as it says, with its chat template."""

from __future__ import annotations

from dataclasses import replace

import torch

from brulee.models.added_tokens import asked
from brulee.models.chat_templates import by_recipe
from brulee.models.hollow import Together
from brulee.models.loading import Base, load_base
from brulee.recipe import Recipe


def load_recipe_base(
    recipe: Recipe, dtype: torch.dtype, device: torch.device, together: Together | None = None
) -> Base:
    """Load the base in `dtype` onto `device`, `together` with other processes or alone.

    Raises InputError as `load_base` does.
    """
    spec = recipe.base
    base = load_base(
        spec.name,
        dtype,
        device,
        spec.revision,
        recipe.source.resolve,
        spec.quantise,
        recipe.rope_scaling,
        asked(spec),
        recipe.languages,
        together,
    )
    return replace(base, tokenizer=by_recipe(base.tokenizer, base.kind, recipe))
