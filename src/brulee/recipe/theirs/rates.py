"""What several keys of other tools say of steps: schedules, optimisers, rates of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from brulee.recipe.sections import WITHOUT
from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.values import At, Unlike, count, number, read

Settings = dict[str, Any]
_SETTINGS = "lr_scheduler_kwargs"
_EMBEDDING = "train.embedding_learning_rate"
_LION_OF_TRAINER: Final = ("lion_32bit", "paged_lion_32bit")  # transformers gives it adam_beta2


def rates(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The schedule and the optimiser with their settings, and the rate of token embeddings."""
    key = next((k for k in ("lr_scheduler_type", "lr_scheduler") if flat.get(k)), "")
    settings = flat.get(_SETTINGS) or {}
    kind = flat.get(key)
    if isinstance(kind, str) and kind in _READERS and isinstance(settings, dict):
        _schedule(found, key, kind, dict(settings))
    _optimizer(found, flat)
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
        if settings:
            raise Unlike("not all of its settings are known here")
    except Unlike as unlike:
        found.values.pop("train.schedule", None)
        found.leave(key, kind, f"train.schedule: {unlike}")
        found.unsaid.add("train.schedule")
        return
    found.left = [one for one in found.left if one.key not in (key, _SETTINGS)]
    found.unsaid.discard("train.schedule")
    for to, value in values.items():
        found.put(f"train.{to}", value)


def _optimizer(found: Converted, flat: Mapping[str, Any]) -> None:
    """Settings of AdamW that also reach another optimiser there, or do not reach it."""
    named = flat.get("optim") or flat.get("optimizer")
    kind = found.values.get("train.optimizer")
    for name in WITHOUT.get(str(kind), ()):
        if (value := found.values.pop(f"train.{name}", None)) is not None:
            found.leave(f"train.{name}", value, f"{kind} has none", matters=False)
    if named in _LION_OF_TRAINER and "train.beta2" not in found.values:
        found.put("train.beta2", 0.999, "AdamW's, which Lion gets there")


def _floored(settings: Settings, rate: float | None) -> dict[str, Any]:
    """A cosine that ends above zero."""
    if "min_lr_rate" in settings:
        return {"schedule": "cosine", "min_rate": number(settings.pop("min_lr_rate"))}
    if "min_lr" not in settings or not rate:
        raise Unlike("it needs min_lr_rate, or min_lr with a learning rate")
    return {"schedule": "cosine", "min_rate": number(settings.pop("min_lr")) / rate}


def _restarted(settings: Settings, _: float | None) -> dict[str, Any]:
    """Cosines one after another; a single one unless more are asked for."""
    cycles = count(settings.pop("num_cycles", 1))
    if cycles <= 1:
        return {"schedule": "cosine"}
    return {"schedule": "cosine_with_restarts", "num_cycles": cycles}


def _polynomial(settings: Settings, rate: float | None) -> dict[str, Any]:
    """A power of the steps that are left; the first power unless another is asked for."""
    power = number(settings.pop("power", 1))
    end = number(settings.pop("lr_end", 0))
    if end and not rate:
        raise Unlike("lr_end needs a learning rate")
    floor = {"min_rate": end / rate} if end and rate else {}
    if power == 1:
        return {"schedule": "linear", **floor}
    return {"schedule": "polynomial", "power": power, **floor}


def _stable(settings: Settings, _: float | None) -> dict[str, Any]:
    """Constant, then falling; how long it is constant follows from all other steps."""
    settings.pop("num_stable_steps", None)
    if settings.get("warmup_type") == "linear":
        del settings["warmup_type"]
    if "num_decay_steps" not in settings:
        raise Unlike("it needs num_decay_steps")
    floor = number(settings.pop("min_lr_ratio", 0))
    return {
        "schedule": "wsd",
        "cooldown": count(settings.pop("num_decay_steps")),
        "decay_type": settings.pop("decay_type", "cosine"),
        **({"min_rate": floor} if floor else {}),
    }


# By transformers' name of the schedule; each removes the settings that it takes.
_READERS: Final[dict[str, Callable[[Settings, float | None], dict[str, Any]]]] = {
    "cosine_with_min_lr": _floored,
    "cosine_with_restarts": _restarted,
    "polynomial": _polynomial,
    "warmup_stable_decay": _stable,
}
