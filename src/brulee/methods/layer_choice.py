"""Which layers of every stack an option selects: by index, or the last N."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.stacks import stacks
from brulee.recipe import Strict


class Last(Strict):
    """The last N layers of every stack."""

    last: Annotated[int, Field(ge=1)]


def layer_prefixes(model: PreTrainedModel, wanted: Last | list[int] | None) -> tuple[str, ...]:
    """The path prefixes of everything in the selected layers; indices start at 0.

    Raises InputError for a layer that the model lacks, and for an empty selection.
    """
    prefixes = []
    for path, stack in stacks(model).items():
        count = len(stack)
        if isinstance(wanted, Last):
            indices, asked = list(range(count - wanted.last, count)), f"last: {wanted.last}"
        else:
            indices, asked = wanted or [], str(wanted or [])
        if not indices or not all(0 <= i < count for i in indices):
            raise InputError(
                f"method.layers: {asked} does not fit {path}, which has {count} layers, "
                f"counted 0 to {count - 1}."
            )
        prefixes += [f"{path}.{i}." for i in indices]
    return tuple(prefixes)
