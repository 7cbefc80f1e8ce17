"""Selective tuning: some of the base's own parameters are trained, the rest stay frozen.

    bias         every bias: BitFit (Ben Zaken et al. 2022)
    norms        every norm's gain and bias
    embeddings   the token and position embeddings
    layers       whole layers: `layers: {last: 4}` or `layers: [0, 1]`
    parameters   those that match `parameters: [patterns]`
    sparse       a fraction `density` of each parameter, chosen by `mask` (selective_masks.py)

Stored as values, not as differences: adding a difference would round. A digest of the values they
replace detects adapters of another base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods import selective_choice as choice
from brulee.methods import selective_masks as masks
from brulee.methods.base import Attached, Method
from brulee.methods.layer_choice import Last
from brulee.methods.peft_config import FILE, read_as, required
from brulee.methods.selective_attached import SelectiveAttached
from brulee.recipe import Strict

# Few values need a high rate; whole layers need that of full fine-tuning.
_RATES = {
    "bias": 3e-3,
    "norms": 3e-3,
    "embeddings": 1e-4,
    "layers": 1e-4,
    "parameters": 1e-4,
    "sparse": 3e-4,
}
_BY_GRADIENT = ("fisher", "sam")
_USED: dict[str, tuple[str, ...]] = {
    "layers": ("layers",),
    "parameters": ("parameters", "sparse"),
    "mask": ("sparse",),
    "density": ("sparse",),
    "documents": ("sparse",),
}


class SelectiveOptions(Strict):
    """Options of selective tuning."""

    train: Literal["bias", "norms", "embeddings", "layers", "parameters", "sparse"] = "norms"
    layers: Last | list[int] | None = None
    parameters: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="globs, or re:PATTERN; with sparse, what to mask"
    )
    mask: Literal["magnitude", "fisher", "sam"] = "fisher"
    density: Annotated[float, Field(gt=0, le=1)] = 0.005
    documents: Annotated[int, Field(ge=1)] = Field(64, description="read to choose a mask")


class _Stored(Strict):
    """What adapter_config.json says about the tensor file."""

    whole: list[str]
    sparse: dict[str, int]
    base_values: str


class Selective(Method):
    """Train chosen parameters of the base, or chosen values of them."""

    name = "selective"
    peft_types = ("BRULEE_SELECTIVE",)
    summary = "some of the base's own parameters: biases, norms, layers, a sparse mask"
    learning_rate = _RATES["norms"]
    Options = SelectiveOptions

    def __init__(
        self, options: SelectiveOptions | None = None, stored: _Stored | None = None
    ) -> None:
        self._options = options or SelectiveOptions()
        self._stored = stored
        self._found: dict[str, torch.Tensor] | None = None
        self.learning_rate = _RATES[self._options.train]
        if stored is None:
            _check_together(self._options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Selective:
        """Read an adapter_config.json that this method wrote.

        Raises InputError naming a setting that is missing or malformed.
        """
        given = {k: config[k] for k in SelectiveOptions.model_fields if k in config}
        held = {k: required(config, k) for k in _Stored.model_fields}
        stored = read_as(_Stored, "selective tuning", held, {})
        return cls(read_as(SelectiveOptions, "selective tuning", given, {}), stored)

    def continued(self, options: Mapping[str, Any]) -> Selective | None:
        """Its file describes it as a recipe does; a mask stays the one that was chosen."""
        return self if dict(options) == self.options() else None

    def options(self) -> dict[str, Any]:
        """The options that this `train` uses, including defaults."""
        unread = {option for option, uses in _USED.items() if self._options.train not in uses}
        return self._options.model_dump(exclude=unread)

    def label(self) -> str:
        """For instance "norms only"."""
        options = self._options
        if options.train == "sparse":
            return f"{options.mask} mask {options.density:.2%}"
        if isinstance(options.layers, Last):
            return f"last {options.layers.last} layers"
        return f"{options.train} only"

    def beside(self) -> bool:
        """Whether no chosen values will be written to the base's memory."""
        if self._stored is not None:
            return not self._stored.sparse
        return self._options.train != "sparse"

    def documents(self) -> int:
        """How many documents `prepare` reads; 0 unless the mask comes from gradients."""
        options = self._options
        by_gradient = options.train == "sparse" and options.mask in _BY_GRADIENT
        return options.documents if by_gradient and self._stored is None else 0

    def prepare(
        self, model: PreTrainedModel, losses: Iterable[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Choose the mask from gradients at the frozen weights."""
        names = self._maskable(model)
        square_each = self._options.mask == "fisher"
        density = self._options.density
        return masks.gradient_positions(model, names, density, losses, square_each)

    def adopt(self, found: Mapping[str, torch.Tensor]) -> None:
        """Use this mask when attaching."""
        self._found = dict(found)

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:  # noqa: ARG002
        """Train copies of whole parameters, or chosen values in the base's own memory.

        Raises InputError for a choice that matches nothing in the model.
        """
        settings = self.options()
        if self._stored:
            whole, positions = _as_stored(model, self._stored)
            return SelectiveAttached(model, whole, positions, settings, self._stored.base_values)
        if self._options.train == "sparse":
            return SelectiveAttached(model, [], self._positions(model), settings)
        return SelectiveAttached(model, self._names(model), {}, settings)

    def _names(self, model: PreTrainedModel) -> list[str]:
        options = self._options
        if options.train == "layers":
            return choice.in_layers(model, options.layers)
        if options.train == "parameters":
            return choice.matching(model, options.parameters or ())
        by_kind = {"bias": choice.biases, "norms": choice.norms, "embeddings": choice.embeddings}
        names = by_kind[options.train](model)
        if not names:
            raise InputError(
                f"method.train={options.train}: {type(model).__name__} has none to train; "
                "train=parameters takes any by name."
            )
        return names

    def _maskable(self, model: PreTrainedModel) -> list[str]:
        """The candidates large enough to have at least one value at this density."""
        patterns = self._options.parameters
        names = choice.everything(model) if patterns is None else choice.matching(model, patterns)
        sizes = {n: model.get_parameter(n).numel() for n in names}
        found = [n for n in names if masks.count(sizes[n], self._options.density)]
        if not found:
            raise InputError(
                f"method.density={self._options.density:g} leaves nothing to train: the largest "
                f"parameter has {max(sizes.values())} values."
            )
        return found

    def _positions(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        if self._options.mask == "magnitude":
            return masks.magnitude_positions(model, self._maskable(model), self._options.density)
        if self._found is None:
            raise InputError(
                f"method.mask={self._options.mask} is chosen from documents, and none was shown; "
                "mask=magnitude needs none."
            )
        return self._found


def _check_together(options: SelectiveOptions) -> None:
    given = options.model_fields_set
    for option, uses in _USED.items():
        if option in given and getattr(options, option) is not None and options.train not in uses:
            raise InputError(
                f"method.{option} is not read with train={options.train}, "
                f"only with train={' or '.join(uses)}."
            )
    for needed in ("layers", "parameters"):
        if options.train == needed and not getattr(options, needed):
            example = {"layers": "{last: 4}", "parameters": "['*.q_proj.weight']"}[needed]
            raise InputError(f"method.train={needed} needs method.{needed}, such as {example}.")


def _as_stored(
    model: PreTrainedModel, stored: _Stored
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """What a stored adapter trains, with placeholder positions until its tensors are loaded."""
    sizes = {n: p.numel() for n, p in model.named_parameters() if p.is_floating_point()}
    names = [*stored.whole, *stored.sparse]
    if not names:
        raise InputError(f"{FILE}: whole and sparse are both empty: it holds no parameter.")
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"{FILE}: {name!r} stands in whole and sparse {times} times.")
        if name not in sizes:
            raise InputError(f"{FILE}: this model has no parameter {name!r}.")
    for name, count in stored.sparse.items():
        if not 0 < count <= sizes[name]:
            raise InputError(
                f"{FILE}: sparse holds {count} values of {name!r}; valid: 1 to {sizes[name]}."
            )
    return stored.whole, {n: torch.arange(k) for n, k in stored.sparse.items()}
