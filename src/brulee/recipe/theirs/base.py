"""The base model of another tool's configuration, which several of its keys describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from brulee.errors import InputError
from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.keys import KEYS
from brulee.recipe.theirs.values import At, Unlike, four_bits, rope

_WORDS: Final = {
    **dict.fromkeys(("true", "full"), "on"),
    "false": "off",
    **dict.fromkeys(("auto", "none", ""), "unsaid"),
}


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
    """What `bf16` and `fp16` say together; "auto" is what a recipe does by itself."""
    bf16, fp16 = (_WORDS.get(str(flat.get(key)).lower()) for key in ("bf16", "fp16"))
    why = "train.precision is auto, bfloat16 or float32"
    if bf16 is None:
        found.leave("bf16", flat["bf16"], why)
    if fp16 in (None, "on"):
        found.leave("fp16", flat["fp16"], why)
    if bf16 == "on":
        found.put("train.precision", "bfloat16")
    elif bf16 == "off" and fp16 != "on":
        found.put("train.precision", "float32")
