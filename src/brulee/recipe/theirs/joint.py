"""Settings that other tools spread over several keys: model, method, batch, length, data, name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.recipe.theirs.converted import Converted, Left
from brulee.recipe.theirs.entries import TELLING, UNKNOWN, entries
from brulee.recipe.theirs.evaluated import evaluated
from brulee.recipe.theirs.keys import KEYS
from brulee.recipe.theirs.values import (
    TRACKERS,
    Unlike,
    count,
    four_bits,
    listed,
    number,
    read,
    rope,
)

# The value in place of one that a recipe does not have: the closest to most of them.
_DEFAULTS = {"train.schedule": "cosine"}
At = Mapping[str, str]  # a key of the tool -> "file, line N"; "" -> the file


def model(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The base, its quantisation and its chat template."""
    keys = ("model_name_or_path", "base_model", "model_name", "model")
    name = next((flat[key] for key in keys if flat.get(key)), None)
    if not isinstance(name, str):
        raise InputError(f"{at['']}: no model is named ({', '.join(keys)}).")
    found.put("model.name", name)
    if (revision := found.values.pop("model.revision", None)) not in (None, "main"):
        found.put("model.revision", revision)
    for key in ("load_in_4bit", "quantization_bit"):
        if flat.get(key):
            try:
                found.put("model.quantise", four_bits(flat[key]), "needs brulee[quantised]")
            except Unlike as unlike:
                found.leave(key, flat[key], f"model.quantise: {unlike}")
    if flat.get("load_in_4bit") is False:
        found.put("model.quantise", None)
    _config(found, flat)
    _chat_template(found, flat)
    _variables(found, flat)
    _precision(found, flat)


def _config(found: Converted, flat: Mapping[str, Any]) -> None:
    """Axolotl's changes of a model's configuration, of which positions are changed here too."""
    key = "overrides_of_model_config"
    changes = flat.get(key)
    if not changes:
        return
    for name, value in changes.items() if isinstance(changes, dict) else ((None, changes),):
        if name not in ("rope_scaling", "rope_parameters"):
            found.leave(f"{key}.{name}" if name else key, value, KEYS[key].note)
            continue
        try:
            found.put("model.rope_scaling", rope(value))
        except Unlike as unlike:
            found.leave(f"{key}.{name}", value, f"model.rope_scaling: {unlike}")


def _chat_template(found: Converted, flat: Mapping[str, Any]) -> None:
    """A template file, or the tokenizer's own; `empty` of LLaMA-Factory's names means none."""
    factory = found.tool.name == "LLaMA-Factory"
    for key in ("template", "chat_template", "chat_template_path", "chat_template_jinja"):
        name = flat.get(key)
        if factory and name == "empty":
            found.put("model.chat_template", "none")
        elif key in ("chat_template_path", "chat_template_jinja") and _is_file(name):
            found.put("model.chat_template", name)
        elif key == "chat_template_jinja" and name:
            found.leave(key, name, "write it into a file, and name that by model.chat_template")
        elif name == "jinja" and flat.get("chat_template_jinja"):
            continue
        elif name and (factory or name != "tokenizer_default"):
            why = "the tokenizer's own chat template is taken, or plain text where it has none"
            found.leave(key, name, why)


def _variables(found: Converted, flat: Mapping[str, Any]) -> None:
    """The variables of a chat template; LLaMA-Factory has a key for one, true by default."""
    key = "chat_template_kwargs"
    variables = {**given} if isinstance(given := flat.get(key), dict) else {}
    if given and not variables:
        found.leave(key, given, f"model.{key}: {given!r} is not a mapping")
    if flat.get("enable_thinking") is False:
        variables["enable_thinking"] = False
    if variables:
        found.put("model.chat_template_kwargs", variables)


def _is_file(name: Any) -> bool:
    return str(name).endswith((".jinja", ".jinja2", ".j2")) and "{" not in str(name)


def _precision(found: Converted, flat: Mapping[str, Any]) -> None:
    bf16, fp16 = flat.get("bf16"), flat.get("fp16")
    if fp16 is True:
        found.leave("fp16", fp16, "train.precision is auto, bfloat16 or float32")
    if bf16 in (True, "true", "full"):
        found.put("train.precision", "bfloat16")
    elif bf16 is False and not fp16:
        found.put("train.precision", "float32")


def method(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """The method. Raises InputError for an unsupported one."""
    kind, key = _kind(found.tool.name, flat)
    if kind in ("lora", "qlora"):
        if patterns := flat.get("unfrozen_parameters"):
            found.leave("unfrozen_parameters", patterns, "LoRA leaves all others frozen")
        found.put("method.name", "lora")
        if kind == "qlora":
            found.put("model.quantise", "nf4", "needs brulee[quantised]")
        _lora(found, flat, at)
        return
    for to in [to for to in found.values if to.startswith("method.")]:
        found.leave(
            to, found.values.pop(to), "an option of LoRA, which is not the method", matters=False
        )
    if kind == "full" and flat.get("unfrozen_parameters"):
        _unfrozen(found, flat, at)
    elif kind == "full":
        found.put("method.name", "full")
    elif kind == "freeze":
        key = "freeze_trainable_layers"
        layers = read(count, flat, key, at) if flat.get(key) else 2
        found.put("method.name", "selective")
        found.put("method.train", "layers")
        found.put("method.layers", {"last": layers} if layers > 0 else list(range(-layers)))
    else:
        raise InputError(
            f"{at[key]}: {key}: {kind} is no method here; lora, qlora, full and freeze are, and "
            "`brulee methods list` names others."
        )


def _unfrozen(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    """Axolotl's patterns of parameters: regular expressions for the beginning of a name."""
    patterns = []
    for given in read(listed, flat, "unfrozen_parameters", at):
        if rows := re.fullmatch(r"(.+)\[[0-9]*(:[0-9]*)?\]", given):
            given = rows[1]
            why = "all rows of a parameter are trained; method.train_tokens trains some beside LoRA"
            found.leave("unfrozen_parameters", rows[0], why)
        # A dot there is a dot, unless a plus follows.
        pattern = re.sub(r"\.(?!\+)", r"\\.", given)
        if "|" in pattern:
            pattern = f"(?:{pattern})"
        patterns.append(f"re:{pattern.removeprefix('^')}{'' if pattern.endswith('$') else '.*'}")
    found.put("method.name", "selective")
    found.put("method.train", "parameters")
    found.put("method.parameters", patterns)


def _kind(tool: str, flat: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of training, and the key that sets it."""
    if tool == "LLaMA-Factory":
        return str(flat.get("finetuning_type") or "lora"), "finetuning_type"
    if tool == "Unsloth":
        return str(flat.get("training_type") or "lora").strip().lower(), "training_type"
    if tool == "TRL":
        return ("lora" if flat.get("use_peft") else "full"), "use_peft"
    return str(flat.get("adapter") or "full"), "adapter"


def _lora(found: Converted, flat: Mapping[str, Any], at: At) -> None:
    for to, value in found.tool.lora.items():
        if to not in found.values:
            found.put(to, value, f"{found.tool.name}'s default")
    if found.tool.name == "LLaMA-Factory" and "method.alpha" not in found.values:
        alpha = 2 * found.values["method.rank"]
        found.put("method.alpha", alpha, "LLaMA-Factory's default: twice the rank")
    if flat.get("lora_target_linear"):
        named = found.values.get("method.target", "all-linear")
        every = "all-linear" if named == "all-linear" else ["all-linear", *listed(named)]
        found.put("method.target", every)
    if "method.target" not in found.values:
        why = "PEFT takes q_proj and v_proj of most models then; here every linear map is targeted"
        found.leave("lora_target_modules", None, why)
        found.put("method.target", "all-linear", "not said there")
    for key in ("lora_target_parameters", "target_parameters"):
        if flat.get(key):
            named = [f"parameter:{name}" for name in read(listed, flat, key, at)]
            found.put("method.target", [*_names(found.values["method.target"]), *named])


def _names(target: str | list[str]) -> list[str]:
    return [target] if isinstance(target, str) else target


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
    elif found.tool.name == "axolotl" and "train.learning_rate" not in found.values:
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
