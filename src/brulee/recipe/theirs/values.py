"""Conversion of values of other tools' keys to a recipe's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from brulee.errors import InputError
from brulee.recipe.rope import RopeScaling, RopeScalingSection

Value = TypeVar("Value")
At = Mapping[str, str]  # a key of the tool -> "file, line N"; "" -> the file

SCHEDULES: Final = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "constant_with_warmup": "constant",
    "warmup_stable_decay": "wsd",
    "cosine_with_min_lr": "cosine",
    **{name: name for name in ("cosine_with_restarts", "polynomial", "inverse_sqrt")},
}
OPTIMIZERS: Final = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw"), "adamw"),
    # The same steps: they differ in where the moments are, or in who computes them.
    **dict.fromkeys(("paged_adamw_32bit", "paged_adamw", "adamw_apex_fused"), "adamw"),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "adamw8bit"), "adamw8bit"),
    **dict.fromkeys(("paged_adamw_8bit", "paged_adamw8bit"), "paged_adamw8bit"),
    "adafactor": "adafactor",
    "muon": "muon",
    **dict.fromkeys(("lion_32bit", "paged_lion_32bit", "lion_pytorch", "lion"), "lion"),
}
PRECISIONS: Final = {
    "auto": "auto",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "full": "bfloat16",
    "float32": "float32",
}
# Trackers with the same names in all tools; no tool has other ones that a recipe takes.
TRACKERS: Final = ("tensorboard", "wandb", "mlflow")
_LARGEST: Final = 1e300
_ROPE: Final = TypeAdapter(RopeScalingSection)
_ROPE_KEYS: Final = RopeScaling.model_fields


# What a converter returns for a value that says what a recipe does unless told otherwise.
UNSET: Final = object()


class Unlike(Exception):  # noqa: N818 - a value without a counterpart, which is told and no failure
    """A value without a counterpart; its text ends a sentence that names the key."""


def read(how: Callable[[Any], Value], values: Mapping[str, Any], key: str, at: At) -> Value:
    """A key's value, converted by `how`. Raises InputError naming its line for an Unlike value."""
    try:
        return how(values[key])
    except Unlike as unlike:
        raise InputError(f"{at[key]}: {key}: {unlike}.") from None


def same(value: Any) -> Any:
    """The value as it is."""
    return value


def number(value: Any) -> float | int:
    """A number, which may be a string such as "2e-4"."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unlike(f"{value!r} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unlike(f"{value!r} is not a number")
    if not -_LARGEST < value < _LARGEST:
        raise Unlike("it is not a finite number")
    return value


def count(value: Any) -> int:
    """A whole number."""
    found = number(value)
    if found != int(found):
        raise Unlike(f"{value!r} is not a whole number")
    return int(found)


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Unlike(f"{value!r} is neither true nor false")
    return value


def above_zero(value: Any) -> Any:
    """A number; zero turns off what a recipe leaves off too."""
    return number(value) or UNSET


def steps(value: Any) -> Any:
    """A whole number from 1 on; the tools write what is below for "never" or "as you like"."""
    found = count(value)
    return found if found >= 1 else UNSET


def interval(value: Any) -> Any:
    """The same, where a share has another meaning there."""
    if 0 < number(value) < 1:
        raise Unlike(f"{value!r} is a share of all steps there, and here one of an epoch")
    return steps(value)


def per_epoch(value: Any) -> Any:
    """The share of an epoch after which something comes again; once an epoch is usual anyway."""
    times = count(value)
    return 1 / times if times > 1 else UNSET


def norm(value: Any) -> float | None:
    """The highest gradient norm: none for zero."""
    return number(value) or None


def switch(value: Any) -> Any:
    """True; false is what an option is anyway."""
    return boolean(value) or UNSET


def patterns(value: Any) -> dict[str, float | int]:
    """Numbers by pattern of module paths."""
    if not isinstance(value, dict):
        raise Unlike(f"{value!r} is not a mapping of modules to numbers")
    return {str(pattern): number(one) for pattern, one in value.items()}


def listed(value: Any) -> list[str]:
    """A list of names, which may be a string such as "a,b"."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise Unlike(f"{value!r} is not a list of names")
    return [name for part in parts if (name := str(part).strip())]


def names(value: Any) -> Any:
    """The same, of something that no name is given to by default."""
    return listed(value) or UNSET


def control(value: Any) -> Any:
    """Control tokens; of a mapping by their roles, those that a text can have."""
    if not isinstance(value, dict):
        return names(value)
    named = [value[role] for role in ("bos_token", "eos_token") if value.get(role)]
    more = value.get("additional_special_tokens") or []
    return list(dict.fromkeys(listed([*named, *more]))) or UNSET


def rows(value: Any) -> Any:
    """Ids of tokens, in one list for all tables."""
    lists = value.values() if isinstance(value, dict) else [value]
    if not all(isinstance(ids, list) for ids in lists):
        raise Unlike(f"{value!r} is not a list of ids")
    return list(dict.fromkeys(count(one) for ids in lists for one in ids)) or UNSET


def four_bits(value: Any) -> str:
    """NF4 for true or 4."""
    if value is True or value in (4, "4"):
        return "nf4"
    raise Unlike(f"{value!r} is not four bits, the only ones that a base is held in: nf4")


def pissa(value: Any) -> Any:
    """The initialisation of LoRA, by a switch."""
    return "pissa" if value is True else UNSET


def start(value: Any) -> Any:
    """The initialisation of LoRA, by PEFT's name; iterations only make PiSSA's faster."""
    if value in (None, True, "True", "true"):
        return UNSET
    if isinstance(value, str) and re.fullmatch(r"pissa(_niter_\d+)?", value):
        return "pissa"
    raise Unlike(f"{value!r} is none of those here: default, pissa")


def targets(value: Any) -> str | list[str]:
    """The modules that get LoRA: "all-linear", names, or a pattern for the whole path."""
    if value is True or value in ("all", "all-linear"):
        return "all-linear"
    if isinstance(value, str) and re.search(r"[\\^$()*+?|\[\]]", value):
        return f"re:{value}"
    names = listed(value)
    if "all" in names or "all-linear" in names or not names:
        return "all-linear"
    return names


def layers(value: Any) -> Any:
    """Layer numbers from 0; a single number is a list of one, and no number means all of them."""
    return [count(one) for one in (value if isinstance(value, list) else [value])] or UNSET


def rope(value: Any) -> Any:
    """How rotary positions are scaled: a kind, or a section of transformers' keys."""
    try:
        found = _ROPE.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[-1]
        key = "".join(f"{part}: " for part in problem["loc"] if str(part) in _ROPE_KEYS)
        raise Unlike(f"{key}{problem['msg'][0].lower()}{problem['msg'][1:]}") from None
    return value if found is not None else None


def schedule(value: Any) -> str:
    """The learning-rate schedule."""
    return _one_of(value, SCHEDULES)


def optimizer(value: Any) -> str:
    """The optimiser."""
    return _one_of(value, OPTIMIZERS)


def muon(value: Any) -> Any:
    """The optimiser: "muon" if a separate switch turns it on."""
    return "muon" if boolean(value) else UNSET


def in_order(value: Any) -> Any:
    """Whether rows are shuffled: false if a switch keeps their order."""
    return False if boolean(value) else UNSET


def sampling(value: Any) -> Any:
    """The same by the name of a sampler; the others only differ in how they pad."""
    return False if value == "sequential" else UNSET


def prompts(value: Any) -> Any:
    """The weight of a prompt's loss: that of an answer's if prompts are learned too."""
    return 1.0 if boolean(value) else UNSET


def not_prompts(value: Any) -> Any:
    """The same for a switch that leaves prompts out."""
    return UNSET if boolean(value) else 1.0


def precision(value: Any) -> str:
    """The precision of training."""
    if isinstance(value, bool):
        return "bfloat16" if value else "auto"
    return _one_of(value, PRECISIONS)


def trackers(value: Any) -> list[str]:
    """The trackers."""
    names = [name for name in listed(value or []) if name != "none"]
    for name in names:
        if name not in TRACKERS:
            raise Unlike(f"{name!r} is no tracker here: {', '.join(TRACKERS)}")
    return names


def _one_of(value: Any, known: dict[str, str]) -> str:
    if not isinstance(value, str) or value not in known:
        here = ", ".join(dict.fromkeys(known.values()))
        raise Unlike(f"{value!r} is none of those here: {here}")
    return known[value]
