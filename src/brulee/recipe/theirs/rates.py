"""Learning rates that other tools spread over several keys: schedules with settings, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.values import Unlike, count, number, read

At = Mapping[str, str]  # a key of the tool -> "file, line N"; "" -> the file
Settings = dict[str, Any]
_SETTINGS = "lr_scheduler_kwargs"
_EMBEDDING = "train.embedding_learning_rate"


def rates(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The schedule with its settings, and the rate of token embeddings."""
    key = next((k for k in ("lr_scheduler_type", "lr_scheduler") if flat.get(k)), "")
    settings = flat.get(_SETTINGS) or {}
    if flat.get(key) in _READERS and isinstance(settings, dict):
        _schedule(found, key, flat[key], dict(settings))
    if flat.get("embedding_lr_scale") and "train.learning_rate" in found.values:
        scale = read(number, flat, "embedding_lr_scale", at)
        found.put(_EMBEDDING, scale * found.values["train.learning_rate"])
    elif flat.get("embedding_lr"):
        found.put(_EMBEDDING, read(number, flat, "embedding_lr", at))
    elif flat.get("loraplus_lr_embedding") and "method.plus_ratio" in found.values:
        found.put(_EMBEDDING, read(number, flat, "loraplus_lr_embedding", at))


def _schedule(found: Converted, key: str, kind: str, settings: Settings) -> None:
    """The schedule, unless one of its settings has no counterpart."""
    rate = found.values.get("train.learning_rate")
    try:
        values = _READERS[kind](settings, rate)
    except Unlike:
        return
    shape = settings.pop("decay_type", "cosine") if kind == _STABLE else None
    if settings:  # what the reader did not take
        return
    found.left = [one for one in found.left if one.key not in (key, _SETTINGS)]
    found.unsaid.discard("train.schedule")
    for to, value in values.items():
        found.put(f"train.{to}", value)
    if shape not in (None, "1-sqrt"):
        found.leave(f"{_SETTINGS}.decay_type", shape, "wsd falls by 1 - sqrt")


def _floored(settings: Settings, rate: float | None) -> dict[str, Any]:
    """A cosine that ends above zero."""
    if "min_lr_rate" in settings:
        return {"schedule": "cosine", "min_rate": number(settings.pop("min_lr_rate"))}
    if "min_lr" not in settings or not rate:
        raise Unlike
    return {"schedule": "cosine", "min_rate": number(settings.pop("min_lr")) / rate}


def _restarted(settings: Settings, _: float | None) -> dict[str, Any]:
    """Cosines one after another; a single one unless more are asked for."""
    if number(settings.pop("num_cycles", 1)) != 1:
        raise Unlike
    return {"schedule": "cosine"}


def _polynomial(settings: Settings, rate: float | None) -> dict[str, Any]:
    """A power of the steps that are left; the first power unless another is asked for."""
    if number(settings.pop("power", 1)) != 1:
        raise Unlike
    end = number(settings.pop("lr_end", 0))
    if end and not rate:
        raise Unlike
    return {"schedule": "linear", **({"min_rate": end / rate} if end and rate else {})}


def _stable(settings: Settings, _: float | None) -> dict[str, Any]:
    """Constant, then falling; how long it is constant follows from all other steps."""
    settings.pop("num_stable_steps", None)
    if settings.get("warmup_type") == "linear":
        del settings["warmup_type"]
    falling = count(settings.pop("num_decay_steps", None))
    floor = number(settings.pop("min_lr_ratio", 0))
    return {"schedule": "wsd", "cooldown": falling, **({"min_rate": floor} if floor else {})}


_STABLE: Final = "warmup_stable_decay"
# By transformers' name of the schedule; each removes the settings that it takes.
_READERS: Final[dict[str, Callable[[Settings, float | None], dict[str, Any]]]] = {
    "cosine_with_min_lr": _floored,
    "cosine_with_restarts": _restarted,
    "polynomial": _polynomial,
    _STABLE: _stable,
}
