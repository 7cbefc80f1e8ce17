"""The tuning method of another tool's configuration, which several of its keys describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brulee.errors import InputError
from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.values import At, count, listed, read


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
