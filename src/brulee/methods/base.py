"""The interface of every tuning method, from full fine-tuning to soft prompts.

A `Method` is a validated set of options. `attach` puts it on a model and returns an `Attached`,
which owns what it added: it lists what is trained, returns and loads the stored tensors, merges
them into the base, or detaches and leaves the base bit-identical.

    Method(options) --attach(model)--> Attached --groups()---> optimiser
                                          |------tensors()--> adapter_model.safetensors
                                          |------config()---> adapter_config.json
                                          |------merge()----> an ordinary tuned model
                                          '------detach()---> the base as it was

How the families fit: selective methods train parameters of the base itself and store their new
values; LoRA, bottleneck and IA3 wrap modules; soft prompts set `prefix_ids`, token ids past the
vocabulary that start every document and that the wrapped embedding maps to trained vectors.
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
from brulee.recipe import MethodSpec, Strict


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate: `lr_scale` times the recipe's.

    `maps`: all of them are weight matrices of linear layers; otherwise none is.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    lr_scale: float = 1.0
    decay: bool = True
    maps: bool = False


class Attached(ABC):
    """A method attached to a model."""

    prefix_ids: tuple[int, ...] = ()
    reserved: int = 0  # positions of the context taken before the first id

    @property
    def beside(self) -> bool:
        """Whether it computes alongside the base, without writing to the base's memory."""
        return True

    @abstractmethod
    def groups(self) -> list[ParameterGroup]:
        """The trained parameters, each in exactly one group."""

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        """The trained parameters of token embeddings and of the head, if there are any."""
        return ()

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors to store, under the file format's keys, on the CPU in fp32.

        Positions (of a sparse mask) are integers.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The contents of adapter_config.json, except the base's name."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors.

        Raises InputError naming a key that is missing, unexpected, of the wrong shape or not
        finite.
        """

    @abstractmethod
    def merge(self) -> None:
        """Merge the method into the base, computed in fp32, and remove everything it added."""

    @abstractmethod
    def detach(self) -> None:
        """Remove the method; the base is then bit-identical to what it was."""

    @abstractmethod
    def disabled(self) -> AbstractContextManager[None]:
        """Inside this block the model computes what its base computes."""

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters."""
        return [p for group in self.groups() for p in group.parameters]

    def replicated(self) -> list[nn.Parameter]:
        """What every process holds whole if the weights are sharded: all that it added.

        And parameters of the base that others stand in for.
        """
        return self.parameters()

    def trainable(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())


class Method(ABC):
    """A tuning method and its options."""

    name: ClassVar[str]
    summary: ClassVar[str]
    learning_rate: float  # the default for recipes; options may change it
    Options: ClassVar[type[Strict]]
    # Full fine-tuning stores a whole model; everything else stores an adapter.
    stores_model: ClassVar[bool] = False
    # The `peft_type` that its adapters are stored with, then any others it can read.
    peft_types: ClassVar[tuple[str, ...]] = ()
    # Options that a stored adapter can be trained further with, whatever it was trained with.
    of_training: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        """Raises TypeError for an option named like another key of the method in a file."""
        taken = {*MethodSpec.model_fields, "label"} & cls.Options.model_fields.keys()
        if taken:
            named = ", ".join(sorted(taken))
            raise TypeError(f"method {cls.name}: {named} cannot be an option's name, being a key.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Method:
        """The method that made an adapter, from an adapter_config.json of one of its `peft_types`.

        Raises InputError naming a setting that is missing, malformed or not supported.
        """
        del config
        raise NotImplementedError(f"method {cls.name} reads no adapters")

    def continued(self, options: Mapping[str, Any]) -> Method | None:
        """This method of a stored adapter, to train it further under complete options.

        A file may describe an adapter otherwise than a recipe does ("all-linear", a bottleneck's
        reduction, a PiSSA); `options` are the recipe's. None if they are not those of the file,
        where loading its tensors would not show that.
        """
        return type(self)(self.Options.model_validate(options))  # type: ignore[call-arg]

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""

    @abstractmethod
    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Put the method on the model and freeze everything it does not train.

        `seed` decides the initial values. Raises InputError for a target that the model lacks.
        """

    def beside(self) -> bool:
        """Whether the result of `attach` will be `beside` the base."""
        return True

    def virtual_tokens(self) -> int:
        """How many virtual positions precede every document."""
        return 0

    def instruct(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> None:  # noqa: B027
        """Receive, before `attach`, the text that the task's first template has in every row."""

    def documents(self) -> int:
        """How many training documents `prepare` reads before `attach`; 0: it is not called."""
        return 0

    def prepare(
        self,
        model: PreTrainedModel,
        losses: Iterable[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Compute from the untuned model what `attach` needs, such as a mask.

        `losses` yields the mean loss of one document at a time, with its graph. The result is
        passed to `adopt` and saved with the run, so that a resumed run uses the same. Leaves the
        model unchanged.
        """
        raise NotImplementedError(f"method {self.name} reads no documents")

    def adopt(self, found: Mapping[str, torch.Tensor]) -> None:
        """Use what `prepare` returned, in this process or before an interruption."""
        raise NotImplementedError(f"method {self.name} reads no documents")

    def label(self) -> str:
        """A short name for tables and verdicts, which results.json and model cards hold."""
        return self.name


def freeze(model: nn.Module) -> list[nn.Parameter]:
    """Freeze all parameters; returns those that were trainable, so that they can be restored."""
    had = [p for p in model.parameters() if p.requires_grad]
    for parameter in had:
        parameter.requires_grad_(False)
    return had


def left_out(model: nn.Module) -> frozenset[str]:
    """The parameters that transformers leaves out when it saves a model.

    They are computed rather than learned, such as Marian's sinusoidal positions: training them
    would have no effect after the next load.
    """
    return frozenset(getattr(model, "_keys_to_ignore_on_save", None) or ())


def untrained(model: PreTrainedModel) -> frozenset[str]:
    """The parameters that training never changes: not saved, or not used for text."""
    return left_out(model) | beside_text(model)


@torch.no_grad()
def copy_checked(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> None:
    """Copy stored tensors into the model's own.

    Raises InputError as `check_tensors` does. Nothing is copied unless everything fits.
    """
    check_tensors(own, given)
    for name, tensor in given.items():
        own[name].copy_(tensor)


def check_tensors(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> None:
    """Check stored tensors against the model's own.

    Raises InputError naming the first key that is missing, unexpected, of another shape, integer
    instead of floating-point or vice versa, or that contains NaN or infinity.
    """
    missing, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or extra:
        kind, keys = ("lacks", missing) if missing else ("has unknown", extra)
        raise InputError(
            f"adapter: it {kind} tensor {keys[0]!r} ({len(keys)} in all); "
            "it was made for another model or by another method."
        )
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"adapter: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"this model needs {tuple(own[name].shape)}."
            )
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise InputError(
                f"adapter: tensor {name!r} holds {tensor.dtype} where {own[name].dtype} is needed."
            )
        if not math.isfinite(largest(tensor)):
            raise InputError(f"adapter: tensor {name!r} holds NaN or infinite values.")


def largest(tensor: torch.Tensor) -> float:
    """The largest absolute value, or NaN if there is one; makes no copy of the tensor."""
    if not tensor.numel():
        return 0.0
    low, high = (float(end) for end in tensor.aminmax())
    return max(abs(low), abs(high))
