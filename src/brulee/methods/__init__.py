"""The tuning methods; to add one, write a file here and add a line to METHODS."""

from __future__ import annotations

from brulee.errors import InputError, unknown
from brulee.methods.base import Attached, Method, ParameterGroup
from brulee.methods.bottleneck import Bottleneck
from brulee.methods.full import Full
from brulee.methods.ia3 import IA3
from brulee.methods.lora import LoRA
from brulee.methods.prefix import Prefix
from brulee.methods.prompt import Prompt
from brulee.methods.selective import Selective
from brulee.recipe import MethodSpec, Source, check

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "selective": Selective,
    "lora": LoRA,
    "bottleneck": Bottleneck,
    "ia3": IA3,
    "prefix": Prefix,
    "prompt": Prompt,
}

# Names that other tools use, and how a recipe writes the same thing.
_ELSEWHERE = {
    "qlora": "lora with model: {quantise: nf4}",
    "dora": "lora with dora: true",
    "rslora": "lora with rslora: true",
    "pissa": "lora with init: pissa",
    "bitfit": "selective with train: bias",
}


def unknown_method(name: str, where: str = "") -> InputError:
    """The error for an unknown method; for another tool's name, it gives the equivalent here."""
    if (here := _ELSEWHERE.get(name.lower())) is None:
        return unknown("method", name, METHODS, where)
    prefix = f"{where}: " if where else ""
    valid = ", ".join(sorted(METHODS))
    return InputError(f"{prefix}unknown method {name!r}; here it is {here}. Valid: {valid}.")


def readers() -> dict[str, type[Method]]:
    """The methods by the `peft_type` of the adapters they can read."""
    return {kind: method for method in METHODS.values() for kind in method.peft_types}


def build_method(spec: MethodSpec, source: Source | None = None) -> Method:
    """The recipe's method, with validated options.

    Raises InputError for an unknown method or option, naming the nearest valid one.
    """
    source = source or Source("recipe", {}, None)
    if spec.name not in METHODS:
        raise unknown_method(spec.name, source.at(("method", "name")))
    method = METHODS[spec.name]
    options = check(method.Options, spec.options(), source, ("method",))
    with source.placing():
        return method(options)  # type: ignore[call-arg]


__all__ = [
    "METHODS",
    "Attached",
    "Method",
    "ParameterGroup",
    "build_method",
    "readers",
    "unknown_method",
]
