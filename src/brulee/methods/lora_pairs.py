"""The two factors of each correction in a stored LoRA, and the scale of their product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG
from brulee.methods.checkpoint import Adapter
from brulee.methods.lora_sizes import sizes_of
from brulee.methods.parameter_targets import PARAMETER, parted
from brulee.methods.peft_config import PREFIX
from brulee.models.experts import ROUTERS

_WEIGHT = ".weight"
# Suffixes of the keys of A and B.
ENDS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}


def pairs_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, str]]:
    """The keys of A and B by their module's path, where both are present and fit."""
    found = {}
    for key in tensors:
        for end_a, end_b in ENDS.items():
            module = key.removesuffix(end_a)
            other = tensors.get(module + end_b)
            if module != key and other is not None and other.shape[-1:] == tensors[key].shape[:1]:
                found[module] = (key, module + end_b)
    return found


def scales_of(adapter: Adapter, modules: Sequence[str]) -> dict[str, float]:
    """The scale of each module's product.

    Raises InputError for an adapter of another method, and for one that corrects experts or
    routers, because all experts of a module share one tensor of factors.
    """
    if not modules:
        return {}
    method = adapter.method()
    if method.name != "lora":
        raise InputError(
            f"{adapter.folder / CONFIG}: it is of method {method.name}, but the tensors of "
            f"{modules[0]!r} are those of a LoRA."
        )
    options = method.options()
    wanted = {key: options[key] for key in ("rank", "alpha", "ranks", "alphas", "rslora")}
    weights = [name.removeprefix(PARAMETER) for name in parted(options["target"])[1]]
    for name in weights:
        if not name.endswith(_WEIGHT) or name.removesuffix(_WEIGHT).endswith(ROUTERS):
            raise InputError(
                f"{adapter.folder}: it corrects {name!r}, of experts or a router; such are "
                "not compared or combined; merge it instead: brulee adapters merge."
            )
    called = {name: _called(name.removeprefix(PREFIX), weights) for name in modules}
    sizes = sizes_of([*called.values()], **wanted)
    return {name: sizes[own].scale for name, own in called.items()}


def _called(path: str, weights: Sequence[str]) -> str:
    """The name by which a module's size is looked up: its weight's path if selected by that."""
    whole = path + _WEIGHT
    named = any(whole == name or whole.endswith(f".{name}") for name in weights)
    return whole if named else path
