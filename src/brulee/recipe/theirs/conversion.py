"""Conversion of another tool's configuration to a recipe's values and what has no counterpart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from brulee.recipe.theirs import joint
from brulee.recipe.theirs.base import model
from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.entries import UNKNOWN
from brulee.recipe.theirs.keys import KEYS, key_of
from brulee.recipe.theirs.method import method
from brulee.recipe.theirs.often import OFTEN, often
from brulee.recipe.theirs.rates import rates
from brulee.recipe.theirs.start import start
from brulee.recipe.theirs.tools import refuse, tool_of
from brulee.recipe.theirs.values import UNSET, Unlike
from brulee.recipe.theirs.without import USUAL
from brulee.yaml_lines import KeyPath

_SECTIONS = ("training", "lora", "logging")  # Unsloth's, in addition to `data`
# Keys that are converted together, below, not one by one.
_JOINT: Final = frozenset(
    (
        *("model_name_or_path", "base_model", "model_name", "model"),
        *("datasets", "dataset_name", "local_dataset", "dataset", "dataset_dir", "max_samples"),
        *(
            "dataset_config",
            "dataset_config_name",
            "dataset_train_split",
            "mix_strategy",
            "interleave_probs",
        ),
        *("stage", "rl", "mask_history", "chat_template_kwargs", "enable_thinking"),
        *("template", "chat_template", "chat_template_path", "chat_template_jinja"),
        *("adapter", "finetuning_type", "training_type", "use_peft", "freeze_trainable_layers"),
        *(
            "load_in_4bit",
            "quantization_bit",
            "lora_target_linear",
            "lora_target_parameters",
            "target_parameters",
            "adapter_name_or_path",
            "lora_model_dir",
            "create_new_adapter",
            "bf16",
            "fp16",
            "output_dir",
        ),
        *("overrides_of_model_config", "unfrozen_parameters"),
        *("embedding_lr", "embedding_lr_scale", "loraplus_lr_embedding"),
        *("per_device_train_batch_size", "micro_batch_size", "gradient_accumulation_steps"),
        *(
            "batch_size",
            "warmup_steps",
            "warmup_ratio",
            "test_datasets",
            "eval_dataset",
            "val_set_size",
            "val_size",
            "test_split_size",
            "max_steps",
        ),
        *("default_system", "default_system_message", "wandb_project", "use_wandb"),
        *("enable_wandb", "enable_tensorboard", "use_tensorboard", "use_mlflow", "report_to"),
        *OFTEN,
    )
)


def convert(theirs: Mapping[str, Any], lines: Mapping[KeyPath, int], file: Path) -> Converted:
    """A recipe's values for a configuration read from `file`.

    Batches, warm-up, data and method depend on several keys; the tool's defaults for missing keys
    are written out. Raises InputError naming the line for unsupported kinds of training.
    """
    flat, at, numbers = _flattened(theirs, lines, str(file))
    tool = tool_of(theirs, flat, str(file))
    refuse(flat, at)
    found = Converted(tool)
    for key, value in flat.items():
        if key not in _JOINT and value is not None:
            _single(found, key, value, numbers.get(key))
    model(found, flat, at)
    method(found, flat, at)
    start(found, flat)
    joint.batch(found, flat, at)
    joint.length(found, flat, at)
    often(found, flat, numbers)
    rates(found, flat, at)
    joint.trackers(found, flat, at)
    joint.data(found, flat, at, file)
    joint.name(found, flat)
    joint.defaults(found)
    if found.values.get("model.quantise", "") is None:
        del found.values["model.quantise"]
    _place(found, flat, numbers)
    return found


def _place(found: Converted, flat: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    """The lines of keys that are converted together, for errors in what was made of them."""
    lines: dict[str, set[int]] = {}
    for key, line in numbers.items():
        known = key_of(key)
        if known is not None and known.to and flat[key] is not None:
            lines.setdefault(known.to, set()).add(line)
    for to, at in lines.items():
        section, *inside = to.split(".")
        tasks = range(len(found.tasks)) if section == "data" else ()
        paths: list[KeyPath] = [(section, *inside)]
        paths += [(section, "tasks", number, *inside) for number in tasks]
        for path in paths:
            if len(at) == 1:  # of several keys it is not known which one is wrong
                found.lines.setdefault(path, min(at))


def _flattened(
    theirs: Mapping[str, Any], lines: Mapping[KeyPath, int], label: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, int]]:
    """The keys, with Unsloth's sections flattened, and their places."""
    flat: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    nested = [s for s in (*_SECTIONS, "data") if isinstance(theirs.get(s), dict)]
    for key, value in theirs.items():
        inside = value.items() if key in nested else [(key, value)]
        for name, one in inside:
            flat[name] = one
            path = (key, name) if key in nested else (key,)
            numbers[name] = lines.get(path, 1)
    at = {key: f"{label}, line {line}" for key, line in numbers.items()} | {"": label}
    return flat, at, numbers


def _single(found: Converted, key: str, value: Any, line: int | None) -> None:
    known = key_of(key)
    if known is None:
        found.leave(key, value, UNKNOWN)
        return
    if not known.to:
        usual = value in (False, 0, [], {}, "") or value in USUAL.get(key, ())
        found.leave(key, value, known.note, known.matters and not usual)
        return
    if known.to.startswith(("data.", "evaluate.")):
        # Names of rows and columns are read with the entries of data sets.
        learned = known.to.startswith("data.")
        found.leave(key, value, f"not read here; it may be {known.to}", learned)
        return
    try:
        here = known.value(value)
    except Unlike as unlike:
        found.leave(key, value, f"{known.to}: {unlike}")
        found.unsaid.add(known.to)
        return
    _put_single(found, known.to, key, value, here)
    if line is not None:
        found.lines[tuple(known.to.split("."))] = line


# Keys whose note stands in the recipe too.
_NOTED = (
    "model.add_tokens", "model.add_special_tokens", "method.train_tokens", "method.train_whole"
)  # fmt: skip


_UNPADDED = "the tokenizer's own padding token is used, and passes are packed without padding"


def _put_single(found: Converted, to: str, key: str, value: Any, here: Any) -> None:
    if key == "special_tokens" and isinstance(value, dict) and value.get("pad_token"):
        found.leave(f"{key}.pad_token", value["pad_token"], _UNPADDED, matters=False)
    if here is UNSET:
        return
    if key == "special_tokens" and isinstance(value, dict):
        found.leave(key, value, KEYS["eos_token"].note, matters=False)
    if key in ("lr_scheduler_type", "lr_scheduler") and value == "constant":
        found.put("train.warmup", 0.0, "constant there is without warm-up")
    found.put(to, here, KEYS[key].note if to in _NOTED else "")
