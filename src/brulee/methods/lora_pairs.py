"""The two factors of each correction in a stored LoRA, and the scale of their product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from brulee.errors import InputError
from brulee.methods.checkpoint import CONFIG, Adapter
from brulee.methods.lora_sizes import sizes_of
from brulee.methods.peft_config import PREFIX

# A and B of one correction, by how their names end.
ENDS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}


def pairs_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, str]]:
    """The names of A and B by their module's path, where both are there and fit."""
    found = {}
    for key in tensors:
        for end_a, end_b in ENDS.items():
            module = key.removesuffix(end_a)
            other = tensors.get(module + end_b)
            if module != key and other is not None and other.shape[-1:] == tensors[key].shape[:1]:
                found[module] = (key, module + end_b)
    return found


def scales_of(adapter: Adapter, modules: Sequence[str]) -> dict[str, float]:
    """What each module's product is multiplied with.

    Raises InputError for an adapter that is of another method.
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
    sizes = sizes_of([name.removeprefix(PREFIX) for name in modules], **wanted)
    return {name: sizes[name.removeprefix(PREFIX)].scale for name in modules}
