"""How often other tools validate and save, in steps or in shares of an epoch.

A ratio there is of all steps, as transformers' Trainer reads it; here a share is of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.keys import KEYS
from brulee.recipe.theirs.values import UNSET, Unlike, number, per_epoch, steps

# The recipe's key: transformers' keys of the kind of interval, of its steps, and axolotl's.
_INTERVALS: Final = {
    "train.validate_every": (
        ("eval_strategy", "evaluation_strategy"), "eval_steps", "evals_per_epoch"
    ),
    "train.save_every": (("save_strategy",), "save_steps", "saves_per_epoch"),
}  # fmt: skip
OFTEN: Final = frozenset(
    key for kinds, counted, shared in _INTERVALS.values() for key in (*kinds, counted, shared)
)


def often(found: Converted, flat: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    """The steps between validations and between checkpoints; `numbers` are the keys' lines."""
    for to, (kinds, counted, shared) in _INTERVALS.items():
        named = next((key for key in kinds if flat.get(key) is not None), "")
        kind = flat.get(named)
        if named and kind not in ("steps", "epoch"):
            found.leave(named, kind, KEYS[named].note, matters=False)
        given = [key for key in (counted, shared) if flat.get(key) is not None]
        if not given and kind == "steps" and to == "train.validate_every":
            given = [key for key in ("logging_steps",) if flat.get(key)]  # as there
        for key in given:
            if kind == "epoch" and key != shared:
                why = f"{named} is epoch, and then it changes nothing"
                found.leave(key, flat[key], why, matters=False)
            else:
                _put(found, to, key, flat[key], per_epoch if key == shared else None)
            if to in found.values and key in numbers:
                found.lines[tuple(to.split("."))] = numbers[key]


def _put(found: Converted, to: str, key: str, value: Any, read: Any) -> None:
    try:
        here, remark = (read(value), "") if read else _of_steps(found, value)
    except Unlike as unlike:
        found.leave(key, value, f"{to}: {unlike}")
        return
    if here is not UNSET:
        found.put(to, here, remark)


def _of_steps(found: Converted, value: Any) -> tuple[Any, str]:
    """Steps as they are; a ratio of all steps by `max_steps` or by the epochs."""
    ratio = number(value)
    if not 0 < ratio < 1:
        return steps(value), ""
    remark = f"{ratio:g} of all steps there"
    if most := found.values.get("train.max_steps"):
        return math.ceil(most * ratio), remark
    epochs = found.values.get("train.epochs", found.tool.defaults["train.epochs"])
    share = round(ratio * epochs, 6)
    if share > 1:
        raise Unlike(f"{share:g} epochs; beyond one, give a number of steps")
    return (UNSET, "") if share == 1 else (share, f"{remark}, of {epochs:g} epochs")
