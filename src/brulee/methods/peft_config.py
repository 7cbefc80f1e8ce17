"""PEFT's adapter_config.json: what its methods have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.recipe import Source, Strict, check

SectionT = TypeVar("SectionT", bound=Strict)
FILE = "adapter_config.json"
PREFIX = "base_model.model."  # before every module's path in PEFT's tensor names
# Keys, common to all methods, that describe an adapter's origin, not its computation.
_COMMON = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_type",
        "peft_version",
        "revision",
        "task_type",
    }
)
_NOTHING: tuple[Any, ...] = (None, False, "none", [], {})


def refuse_unsupported(
    config: Mapping[str, Any],
    method: str,
    read: Collection[str],
    harmless: Mapping[str, tuple[Any, ...]],
) -> None:
    """Accept the keys in `read`, empty values, and `harmless` values of others.

    Raises InputError naming a setting, known or not, that the method does not support.
    """
    for key in sorted(config.keys() - _COMMON - set(read)):
        if config[key] not in (*_NOTHING, *harmless.get(key, ())):
            raise InputError(
                f"{FILE}: {key} = {config[key]!r} is not supported by method {method}."
            )


def required(config: Mapping[str, Any], key: str) -> Any:
    """A required setting. Raises InputError naming it if it is missing."""
    if key not in config:
        raise InputError(f"{FILE}: the key {key!r} is missing.")
    return config[key]


def read_as(
    section: type[SectionT], kind: str, values: Mapping[str, Any], written: Mapping[str, str]
) -> SectionT:
    """A configuration's values as options; `written` maps options to the file's names.

    Raises InputError naming a setting of the wrong type by the file's name.
    """
    return check(section, values, Source(f"{FILE}: not {kind}", {}, None), (), written)


def task_type(model: PreTrainedModel) -> str:
    """PEFT's name for the model's task."""
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
