"""LoRA's adapter_config.json, as PEFT writes it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from brulee.methods.lora_sizes import orderless
from brulee.methods.peft_config import refuse_unsupported, required
from brulee.methods.targets import PATTERN

# Every start but these changes the base too, and the file does not hold what it was changed to.
_STARTS = (True, "gaussian", "orthogonal", "eva")
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": _STARTS,
    "qalora_group_size": (16,),
    "megatron_core": ("megatron.core",),
}
_OF_EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj")
# What the file calls the options.
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
}


def read_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of method lora that a PEFT configuration stands for.

    Raises InputError naming a setting that is missing or not computed here.
    """
    refuse_unsupported(config, "lora", _READ, _HARMLESS)
    return {
        "rank": required(config, "r"),
        "alpha": required(config, "lora_alpha"),
        "target": _target(required(config, "target_modules")),
        "layers": _layers(config.get("layers_to_transform")),
        "dropout": config.get("lora_dropout") or 0.0,
        "rslora": config.get("use_rslora") or False,
        "dora": config.get("use_dora") or False,
        "ranks": config.get("rank_pattern") or {},
        "alphas": config.get("alpha_pattern") or {},
    }


def _target(modules: Any) -> Any:
    """In PEFT one string is a regular expression, and only in a list a name."""
    if isinstance(modules, str) and modules != "all-linear":
        return f"{PATTERN}{modules}"
    return modules


def _layers(given: Any) -> Any:
    """Numbers of layers, of which PEFT takes a single one as it is; none and [] are all of them."""
    return [given] if isinstance(given, int) else given or None


def taken_for_experts(config: Mapping[str, Any], model: nn.Module) -> list[str]:
    """Those targets of a stored LoRA that PEFT 0.21 takes for the model's experts.

    Where experts are one tensor for all, it believes an adapter that names their maps to be of the
    time when they were many, though a shared expert or a dense layer has maps of these names; what
    it then computes is something else. It does so for most architectures with such experts.
    """
    if config["peft_type"] != "LORA":
        return []
    fused = any(name.endswith("experts.gate_up_proj") for name, _ in model.named_parameters())
    targets = config["target_modules"] if fused else []
    return [target for target in targets if target.rsplit(".", 1)[-1] in _OF_EXPERTS]


def stored_size(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Ranks and alphas of the named modules as they are stored.

    PiSSA's frozen start is stored beside what was trained, as PEFT's conversion does: twice the
    rank, and the alpha that leaves the scale as it is. The adapter then fits the pristine base.
    """
    rank, alpha = (
        (2, math.sqrt(2) if options["rslora"] else 2) if options["init"] == "pissa" else (1, 1)
    )
    return {
        "r": rank * options["rank"],
        "lora_alpha": alpha * options["alpha"],
        "rank_pattern": {k: rank * v for k, v in orderless(options["ranks"], names).items()},
        "alpha_pattern": {k: alpha * v for k, v in orderless(options["alphas"], names).items()},
    }
