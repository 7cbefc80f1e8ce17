"""LoRA's adapter_config.json, as PEFT writes it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from brulee.methods.lora_sizes import orderless
from brulee.methods.parameter_targets import PARAMETER
from brulee.methods.peft_config import refuse_unsupported, required
from brulee.methods.targets import PATTERN

# Every other initialisation also changes the base, and the file does not hold the result.
_STARTS = (True, "gaussian", "orthogonal", "eva")
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": _STARTS,
    "qalora_group_size": (16,),
    "megatron_core": ("megatron.core",),
}
# The options' names in the file.
WRITTEN = {
    "rank": "r",
    "alpha": "lora_alpha",
    "target": "target_modules",
    "layers": "layers_to_transform",
    "dropout": "lora_dropout",
    "rslora": "use_rslora",
    "dora": "use_dora",
    "ranks": "rank_pattern",
    "alphas": "alpha_pattern",
}
_READ = {
    *WRITTEN.values(),
    "eva_config",
    "fan_in_fan_out",
    "layers_pattern",
    "runtime_config",
    "target_parameters",
}


def read_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of method lora that a PEFT configuration describes.

    Raises InputError naming a setting that is missing or not supported.
    """
    refuse_unsupported(config, "lora", _READ, _HARMLESS)
    return {
        "rank": required(config, "r"),
        "alpha": required(config, "lora_alpha"),
        "target": _target(required(config, "target_modules"), config.get("target_parameters")),
        "layers": _layers(config.get("layers_to_transform")),
        "dropout": config.get("lora_dropout") or 0.0,
        "rslora": config.get("use_rslora") or False,
        "dora": config.get("use_dora") or False,
        "ranks": config.get("rank_pattern") or {},
        "alphas": config.get("alpha_pattern") or {},
    }


def _target(modules: Any, parameters: Any) -> Any:
    """Convert PEFT's targets: a plain string is a regular expression there, a list holds names."""
    if isinstance(modules, str) and modules != "all-linear":
        modules = f"{PATTERN}{modules}"
    if not parameters or not isinstance(parameters, list):
        return modules
    named = [modules] if isinstance(modules, str) else modules or []
    return [*named, *(f"{PARAMETER}{name}" for name in parameters)]


def _layers(given: Any) -> Any:
    """Layer indices; PEFT also accepts a single one, and None or [] means all of them."""
    return [given] if isinstance(given, int) else given or None


def stored_size(
    options: Mapping[str, Any], names: Collection[str], renamed: Mapping[str, str]
) -> dict[str, Any]:
    """Ranks and alphas of the named modules as stored; `renamed` maps some to other names.

    PiSSA's frozen start is stored with the trained factors, as in PEFT's conversion: twice the
    rank, and an alpha that keeps the scale. The adapter then fits the original base.
    """
    rank, alpha = (
        (2, math.sqrt(2) if options["rslora"] else 2) if options["init"] == "pissa" else (1, 1)
    )
    return {
        "r": rank * options["rank"],
        "lora_alpha": alpha * options["alpha"],
        "rank_pattern": _patterns(options["ranks"], rank, names, renamed),
        "alpha_pattern": _patterns(options["alphas"], alpha, names, renamed),
    }


def _patterns(
    given: Mapping[str, Any], times: float, names: Collection[str], renamed: Mapping[str, str]
) -> dict[str, Any]:
    found = orderless(given, names, renamed)
    return {pattern: times * value for pattern, value in found.items()}
