"""A model whose values only one of several processes holds: the others have its structure.

One process reads the files, and transformers does to them whatever it does while loading (merging
experts, unpacking, tying). It describes what came of that, and the others build the same modules
around zeros, for memory that is never written to takes none. So a machine holds one copy of the
weights however many processes it runs, mapped from the files if they are stored in the dtype asked
for; everything that looks at shapes works in every process; and values arrive when the model is
sharded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from brulee.errors import BruleeError
from brulee.models.allocator import untouched

T = TypeVar("T")


@dataclass(frozen=True)
class Together:
    """How several processes load one model: whether this one `holds` its values.

    `same` returns the value of the process that does; all must call it, in the same order.
    """

    holds: bool
    same: Callable[[Any], Any]

    def of_holder(self, find: Callable[[], T]) -> T:
        """What the process that holds the values finds; the others do not look."""
        found: T = self.same(find() if self.holds else None)
        return found


@dataclass(frozen=True)
class Shape:
    """One parameter or buffer; those of the same `number` share one tensor."""

    path: str
    number: int
    size: torch.Size
    dtype: torch.dtype
    trained: bool | None  # None: a buffer


def structure(model: nn.Module) -> list[Shape]:
    """All parameters and buffers of a model, under every name that they have."""
    numbers: dict[int, int] = {}
    found = []
    for path, tensor, parameter in _tensors(model):
        number = numbers.setdefault(id(tensor), len(numbers))
        trained = tensor.requires_grad if parameter else None
        found.append(Shape(path, number, tensor.shape, tensor.dtype, trained))
    return found


def hollow(
    auto: Any, config: PretrainedConfig, dtype: torch.dtype, shapes: list[Shape]
) -> PreTrainedModel:
    """A model of the transformers class `auto` with tensors of these shapes, all zero, on the CPU.

    Raises BruleeError if its modules are not those of the model that the shapes describe.
    """
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config, dtype=dtype)
    own, wanted = {path for path, *_ in _tensors(model)}, {shape.path for shape in shapes}
    if own != wanted:
        first = sorted(own ^ wanted)[0]
        raise BruleeError(
            f"{type(model).__name__}: loading its files changes its modules (at {first}), which "
            "the other processes cannot follow; start without ACCELERATE_USE_FSDP."
        )
    made: dict[int, torch.Tensor] = {}
    for shape in shapes:
        if shape.number not in made:
            zeros = untouched(shape.size, shape.dtype)
            if shape.trained is not None:
                zeros = nn.Parameter(zeros, requires_grad=shape.trained)
            made[shape.number] = zeros
        path, _, leaf = shape.path.rpartition(".")
        module = model.get_submodule(path)
        held = module._buffers if shape.trained is None else module._parameters
        held[leaf] = made[shape.number]
    return model.eval()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Path and tensor of all parameters (True) and buffers (False), once for every name."""
    for path, parameter in model.named_parameters(remove_duplicate=False):
        yield path, parameter, True
    for path, buffer in model.named_buffers(remove_duplicate=False):
        yield path, buffer, False
