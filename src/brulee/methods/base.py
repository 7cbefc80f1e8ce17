"""The contract every tuning method keeps, from full fine-tuning to soft prompts.

A `Method` is a checked set of options. `attach` puts it on a model and gives back an `Attached`,
which owns whatever was put there: it says what is trained, gives and takes the stored tensors,
folds them into the base, or takes itself off again and leaves the base bit-identical.

    Method(options) --attach(model)--> Attached --groups()---> optimiser
                                          |------tensors()--> adapter_model.safetensors
                                          |------config()---> adapter_config.json
                                          |------merge()----> an ordinary tuned model
                                          '------detach()---> the base as it was

How the families fit: selective methods return parameters of the base itself and store their
changed values; LoRA, bottleneck and IA3 wrap modules; soft prompts give `prefix_ids`, token ids
past the vocabulary that every document begins with and that the wrapped embedding turns into
trained vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.models.text_part import beside_text
from brulee.recipe import Strict


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate: `lr_scale` times the recipe's.

    They are all `maps`, matrices of linear maps, or none of them is.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    lr_scale: float = 1.0
    decay: bool = True
    maps: bool = False


class Attached(ABC):
    """A method that is on a model."""

    prefix_ids: tuple[int, ...] = ()
    reserved: int = 0  # positions of the model's context that stand before the first id

    @property
    def beside(self) -> bool:
        """Whether it computes beside the base, and writes nothing into the base's memory."""
        return True

    @abstractmethod
    def groups(self) -> list[Group]:
        """What is trained; every parameter in exactly one group."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """What is stored, under the keys of the file format, on the CPU in fp32.

        Positions (a sparse mask's) are integers.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What adapter_config.json holds beside the base's name."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take stored tensors.

        Raises InputError naming a key that is missing, left over, of the wrong shape or not finite.
        """

    @abstractmethod
    def merge(self) -> None:
        """Fold the method into the base, computed in fp32, and leave no trace of itself."""

    @abstractmethod
    def detach(self) -> None:
        """Take the method off; the base is then bit for bit what it was."""

    @abstractmethod
    def disabled(self) -> AbstractContextManager[None]:
        """Inside this block the model computes what its base computes."""

    def trainable(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for group in self.groups() for p in group.parameters)


class Method(ABC):
    """A tuning method and its options."""

    name: ClassVar[str]
    summary: ClassVar[str]
    learning_rate: float  # what a recipe without one gets; options may change it
    Options: ClassVar[type[Strict]]
    # Full fine-tuning stores a whole model; everything else stores an adapter.
    stores_model: ClassVar[bool] = False
    # As adapter_config.json names what it stores, and whatever else it reads.
    peft_types: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Method:
        """The method that made an adapter, by its adapter_config.json of one of `peft_types`.

        Raises InputError naming a setting that is missing, malformed or not computed here.
        """
        del config
        raise NotImplementedError(f"method {cls.name} reads no adapters")

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The options, every default written out."""

    @abstractmethod
    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Put the method on the model, freezing whatever it does not train.

        `seed` decides the initial values. Raises InputError for a target that the model lacks.
        """

    def beside(self) -> bool:
        """Whether what is attached will be `beside` the base."""
        return True

    def virtual_tokens(self) -> int:
        """How many positions every document begins with that are not its own."""
        return 0

    def instruct(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> None:  # noqa: B027
        """Hear, before `attach`, what the task's first template says whatever the row."""

    def documents(self) -> int:
        """How many training documents `prepare` reads before `attach`; 0: it is not called."""
        return 0

    def prepare(
        self,
        model: PreTrainedModel,
        losses: Iterable[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Learn from the untuned model what `attach` needs to know, such as a mask.

        `losses` gives the mean loss of one document after another, with a graph. What is returned
        goes to `adopt`, and is kept with a run, as a resumed one must find the same. Leaves the
        model as it was.
        """
        raise NotImplementedError(f"method {self.name} reads no documents")

    def adopt(self, found: Mapping[str, torch.Tensor]) -> None:
        """Take what `prepare` found, now or before an interruption."""
        raise NotImplementedError(f"method {self.name} reads no documents")

    def label(self) -> str:
        """A short name for tables and verdicts."""
        return self.name


def freeze(model: nn.Module) -> list[nn.Parameter]:
    """Switch every gradient off; returns the parameters that had one, to switch back on."""
    had = [p for p in model.parameters() if p.requires_grad]
    for parameter in had:
        parameter.requires_grad_(False)
    return had


def left_out(model: nn.Module) -> frozenset[str]:
    """The parameters that transformers leaves out when it stores a model.

    They are computed and not learned, such as Marian's sinusoidal positions: what is made of them
    is lost with the next load.
    """
    return frozenset(getattr(model, "_keys_to_ignore_on_save", None) or ())


def untrained(model: PreTrainedModel) -> frozenset[str]:
    """The parameters that no training moves: those that are not stored, or not of text."""
    return left_out(model) | beside_text(model)


@torch.no_grad()
def copy_checked(
    own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], where: str = "adapter"
) -> None:
    """Copy stored tensors into the model's own.

    Raises InputError as `check_tensors` does. Nothing is copied unless everything fits.
    """
    check_tensors(own, given, where)
    for name, tensor in given.items():
        own[name].copy_(tensor)


def check_tensors(
    own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], where: str = "adapter"
) -> None:
    """Hold stored tensors against the model's own.

    Raises InputError naming the first key that is missing, left over, of another shape, whole
    numbers where others are needed or the other way round, or holds NaN or infinity.
    """
    missing, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or extra:
        kind, keys = ("lacks", missing) if missing else ("has unknown", extra)
        raise InputError(
            f"{where}: it {kind} tensor {keys[0]!r} ({len(keys)} in all); "
            "it was made for another model or by another method."
        )
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{where}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"this model needs {tuple(own[name].shape)}."
            )
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise InputError(
                f"{where}: tensor {name!r} holds {tensor.dtype} where {own[name].dtype} is needed."
            )
        if not math.isfinite(largest(tensor)):
            raise InputError(f"{where}: tensor {name!r} holds NaN or infinite values.")


def largest(tensor: torch.Tensor) -> float:
    """The largest absolute value, NaN if one is; read without a copy as large as the tensor."""
    if not tensor.numel():
        return 0.0
    low, high = (float(end) for end in tensor.aminmax())
    return max(abs(low), abs(high))
