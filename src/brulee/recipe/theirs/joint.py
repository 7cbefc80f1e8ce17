"""Settings that other tools spread over several keys: batch, length, trackers, data, name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.recipe.theirs.converted import Converted, Left
from brulee.recipe.theirs.entries import TELLING, UNKNOWN, entries
from brulee.recipe.theirs.evaluated import evaluated
from brulee.recipe.theirs.values import (
    TRACKERS,
    At,
    count,
    listed,
    number,
    read,
)

# The value in place of one that a recipe does not have: the closest to most of them.
_DEFAULTS = {"train.schedule": "cosine"}


def batch(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """Documents per step: those per device times the accumulated batches."""
    tool = found.tool
    keys = ["per_device_train_batch_size", "micro_batch_size"]
    if tool.name != "axolotl":
        keys.append("batch_size")
    elif flat.get("batch_size"):
        why = "a step there is micro_batch_size x gradient_accumulation_steps, on each device"
        found.leave("batch_size", flat["batch_size"], why)
    key = next((key for key in keys if flat.get(key) is not None), None)
    each = read(count, flat, key, at) if key else tool.per_device
    accumulated = "gradient_accumulation_steps"
    times = read(count, flat, accumulated, at) if flat.get(accumulated) else tool.accumulation
    found.put(
        "train.batch_size",
        each * times,
        f"documents of a step: {each} x {times} accumulated; times the devices, where several were",
    )
    for packing in ("packing", "sample_packing", "neat_packing"):
        if flat.get(packing):
            found.left = [one for one in found.left if one.key != packing]
            why = "a step there is so many packs of documents; train.batch_size counts documents"
            found.leave(packing, True, why)
            remark = f"{each} x {times} packs there, of several documents each: raise it by as many"
            found.remarks["train.batch_size"] = remark


def length(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The number of steps, and of warm-up steps."""
    steps = read(count, flat, "max_steps", at) if flat.get("max_steps") is not None else 0
    if steps > 0:
        found.put("train.max_steps", steps)
        found.put("train.epochs", 1000, "max_steps alone ends it, as there")
    if found.tool.name == "axolotl" and "train.learning_rate" not in found.values:
        if flat.get("learning_rate") is not None:
            read(number, flat, "learning_rate", at)  # raises an error that says what is wrong
        raise InputError(f"{at['']}: axolotl needs a learning_rate.")
    if "train.warmup" in found.values:
        return
    key = "warmup_steps" if flat.get("warmup_steps") else "warmup_ratio"
    given = 0 if flat.get("warmup_steps") == 0 and not flat.get(key) else flat.get(key)
    if given is None:
        given = found.tool.warmup_steps
    if given is None:
        return
    share = read(number, {key: given}, key, at)
    if share >= 1 and share != int(share):
        raise InputError(f"{at[key]}: {key}: {given} is not a whole number of steps.")
    found.put("train.warmup", share if share < 1 else int(share))


def trackers(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The trackers, as far as brulee supports them."""
    asked = read(listed, flat, "report_to", at) if flat.get("report_to") else []
    names = [name for name in asked if name != "none"]
    flags = {"wandb": ("wandb_project", "use_wandb"), "tensorboard": ("use_tensorboard",)}
    flags |= {"mlflow": ("use_mlflow",)}
    if found.tool.name == "Unsloth":  # its file names a project even if tracking is off
        flags = {"wandb": ("enable_wandb",), "tensorboard": ("enable_tensorboard",)}
    names += [name for name, keys in flags.items() if any(flat.get(key) for key in keys)]
    known = [name for name in dict.fromkeys(names) if name in TRACKERS]
    if known:
        found.put("train.trackers", known)
    if (project := flat.get("wandb_project")) and "wandb" in known:
        why = "the project at W&B is called as the run, or as the environment's WANDB_PROJECT says"
        found.leave("wandb_project", project, why, matters=False)
    for name in names:
        if name not in TRACKERS:
            found.leave("report_to", name, f"the trackers are {', '.join(TRACKERS)}", matters=False)


def data(found: Converted, flat: Mapping[str, Any], at: At, file: Path) -> None:
    """The tasks, their validation share, and their rates."""

    def place(path: str) -> str:
        """The path as it is if it exists, else relative to the configuration file."""
        beside = file.parent / path
        return str(beside) if not Path(path).exists() and beside.exists() else path

    found.tasks = entries(flat, found.tool.name, place, at)
    for number_, entry in enumerate(found.tasks):
        found.left += [
            Left(f"datasets.{number_}.{key}", value, why, why == UNKNOWN or key in TELLING)
            for key, (value, why) in entry.left.items()
            if why
        ]
    _framed(found)
    validation = _validation(flat, at)
    validated = evaluated(found, flat, at, place) or bool(validation)
    system = flat.get("default_system") or flat.get("default_system_message")
    for entry in found.tasks:
        entry.data |= {"system": system} if system else {}
        entry.data |= {"turns": "last"} if flat.get("mask_history") else {}
        entry.data["split"] = {"validation": validation} if validation else {}
    _mixed(found, flat, at)
    _learned(found, flat)
    if not validated:
        for to in ("train.validate_every", "train.patience", "train.keep_best"):
            if to in found.values:
                value = found.values.pop(to)
                found.leave(to, value, "data.split.validation holds no rows out to validate on")


def _framed(found: Converted) -> None:
    """Handle complete formats, which the tool uses without a chat template."""
    plain = [entry for entry in found.tasks if entry.plain]
    if len(plain) == len(found.tasks):
        found.put("model.chat_template", "none", "a format there is all of the prompt")
        return
    for entry in plain:
        entry.remarks.append(
            "its format is all of the prompt there; here the chat template is added around it"
        )


def _validation(flat: Mapping[str, Any], at: At) -> float:
    """A share of the rows, or their number, which is an integer."""
    keys = ("val_set_size", "val_size", "test_split_size")
    key = next((key for key in keys if flat.get(key)), keys[0])
    given = read(number, {key: flat.get(key) or 0}, key, at)
    return int(given) if given >= 1 else given


def _mixed(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The rates of several data sets: proportional to their sizes unless given."""
    strategy = flat.get("mix_strategy") or "concat"
    if len(found.tasks) < 2 or strategy == "concat":
        return
    key = "interleave_probs"
    shares = read(_numbers, flat, key, at) if flat.get(key) else []
    if len(shares) == len(found.tasks):
        found.mix = {"kind": "weights"}
        for entry, share in zip(found.tasks, shares, strict=True):
            entry.data["weight"] = share
    else:
        found.mix = {"kind": "equal"}


def _numbers(value: Any) -> list[float]:
    return [number(share) for share in listed(value)]


def _learned(found: Converted, flat: Mapping[str, Any]) -> None:
    """Record if the tool also learns prompts, whatever the rows are."""
    defaults = {
        "TRL": ("assistant_only_loss", False),
        "Unsloth": ("train_on_completions", False),
    }
    key, default = defaults.get(found.tool.name, ("", True))
    if key and not flat.get(key, default):
        found.left = [one for one in found.left if one.key != key]
        whose = "false" if key in flat else "false by default"
        where = " of chats" if found.tool.name == "TRL" else ""
        found.leave(
            key,
            whose,
            f"prompts{where} are learned there; here only answers are, unless "
            "train.prompt_loss_weight is set",
        )
    else:
        found.left = [one for one in found.left if one.key != key]


def name(found: Converted, flat: Mapping[str, Any]) -> None:
    """The run's folder, from the tool's output folder."""
    given = flat.get("output_dir")
    folder = Path(given) if isinstance(given, str) else Path()
    if not folder.name:
        return
    if folder.parent != Path() and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder.name):
        found.put("name", folder.name)
        found.put("runs", str(folder.parent), "the run's folder is NAME in it")
    else:
        found.put("runs", str(folder), "the run's folder is in it, called as this file")


def defaults(found: Converted) -> None:
    """The tool's defaults for missing keys, where a recipe's default differs."""
    for to, value in found.tool.defaults.items():
        if to in found.unsaid:
            found.put(to, _DEFAULTS.get(to, value), "another there, which is not here: see above")
        elif to not in found.values:
            found.put(to, value, f"{found.tool.name}'s default")
