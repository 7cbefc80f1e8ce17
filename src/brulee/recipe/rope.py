"""How a recipe stretches a model's rotary positions for longer texts: `model.rope_scaling`.

The keys and their meaning are those of transformers' `rope_parameters` (5.24), which other tools
pass on under its older name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from brulee.recipe.base import Count, Strict, Weight

Kind = Literal["yarn", "linear", "dynamic", "llama3", "longrope", "default"]

_YARN: Final = (
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
)
_FROM: Final = "original_max_position_embeddings"
# The keys of each kind besides rope_type and rope_theta.
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "yarn": ("factor", _FROM, *_YARN),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", _FROM, "low_freq_factor", "high_freq_factor"),
    "longrope": ("factor", _FROM, "attention_factor", "short_factor", "long_factor"),
    "default": (),
}
_NEEDED: Final = {"longrope": ("short_factor", "long_factor")}
# Llama 3.1's; other tools leave them out.
_LLAMA3: Final = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


class RopeScaling(Strict):
    """A scaling of rotary positions; without `factor`, the one at which train.max_length fits."""

    rope_type: Kind = Field(
        description="yarn (Peng et al. 2023), linear (Chen et al. 2023), dynamic (NTK), llama3, "
        "longrope (Ding et al. 2024); default: none, whatever the checkpoint has"
    )
    factor: Annotated[float, Field(ge=1)] | None = Field(
        None, description="how many times as long; default: such that train.max_length fits"
    )
    original_max_position_embeddings: Count | None = Field(
        None, description="tokens that the model was pretrained on; default: its configuration's"
    )
    attention_factor: Annotated[float, Field(ge=0)] | None = None
    beta_fast: Weight | None = None
    beta_slow: Weight | None = None
    mscale: Weight | None = None
    mscale_all_dim: Weight | None = None
    truncate: bool | None = None
    low_freq_factor: Weight | None = None
    high_freq_factor: Weight | None = None
    short_factor: list[Weight] | None = None
    long_factor: list[Weight] | None = None
    rope_theta: Weight | None = Field(None, description="default: the checkpoint's")

    @model_validator(mode="after")
    def _of_its_kind(self) -> RopeScaling:
        kind, given = self.rope_type, self.values()
        valid = ("rope_theta", *_KEYS[kind])
        for key in given:
            if key not in ("rope_type", *valid):
                raise _error(f"{key} is no setting of {kind}, which has {', '.join(sorted(valid))}")
        for key in _NEEDED.get(kind, ()):
            if key not in given:
                raise _error(f"{kind} needs {key}")
        low, high = (given.get(key, own) for key, own in _LLAMA3.items())
        if low >= high:
            raise _error("low_freq_factor must be less than high_freq_factor")
        return self

    def values(self) -> dict[str, Any]:
        """What is given, by transformers' keys."""
        more = _LLAMA3 if self.rope_type == "llama3" else {}
        return more | {key: value for key, value in self if value is not None}

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None}


def _error(said: str) -> PydanticCustomError:
    return PydanticCustomError("rope_scaling", "{said}", {"said": said})


def _spelt(given: Any) -> Any:
    """A kind alone as a section, and `type`, the older name of `rope_type`, under the newer one."""
    if isinstance(given, str):
        return {"rope_type": given}
    if not isinstance(given, Mapping) or "type" not in given:
        return given
    older = given["type"]
    if given.get("rope_type", older) != older:
        raise _error(f"type is {older!r} and rope_type {given['rope_type']!r}; keep one of them")
    return {"rope_type": older, **{key: value for key, value in given.items() if key != "type"}}


# A kind, such as `yarn`, is shorthand for a section.
RopeScalingSection = Annotated[
    RopeScaling | None,
    BeforeValidator(_spelt, json_schema_input_type=Kind | RopeScaling | None),
]
