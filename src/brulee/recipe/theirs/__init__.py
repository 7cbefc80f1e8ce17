"""Conversion of configurations of LLaMA-Factory, axolotl, TRL and Unsloth to recipes."""

from brulee.recipe.theirs.conversion import convert
from brulee.recipe.theirs.converted import Converted, Left
from brulee.recipe.theirs.keys import said_here

__all__ = ["Converted", "Left", "convert", "said_here"]
