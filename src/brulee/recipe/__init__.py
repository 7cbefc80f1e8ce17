"""The typed recipe and its YAML: strict keys, dotted overrides, errors that name the line."""

from brulee.recipe.base import Strict
from brulee.recipe.data import (
    DataSpec,
    HoldOutSpec,
    MixSpec,
    MixtureSpec,
    ShotsSpec,
    SplitSpec,
    tasks_of,
)
from brulee.recipe.reading import load_recipe, recipe_from_dict, with_overrides
from brulee.recipe.recipe import Recipe, json_schema
from brulee.recipe.sections import (
    ADDED,
    ALONGSIDE,
    EvaluateSpec,
    GenerationSpec,
    MethodSpec,
    ModelSpec,
    TrainSpec,
)
from brulee.recipe.source import Source
from brulee.recipe.validation import check

__all__ = [
    "ADDED",
    "ALONGSIDE",
    "DataSpec",
    "EvaluateSpec",
    "GenerationSpec",
    "HoldOutSpec",
    "MethodSpec",
    "MixSpec",
    "MixtureSpec",
    "ModelSpec",
    "Recipe",
    "ShotsSpec",
    "Source",
    "SplitSpec",
    "Strict",
    "TrainSpec",
    "check",
    "json_schema",
    "load_recipe",
    "recipe_from_dict",
    "tasks_of",
    "with_overrides",
]
