"""Adapters from other tools for multimodal models, restricted to the part that reads text.

PEFT puts a LoRA on every module of a name, including those of a vision tower, where training on
text leaves each pair at zero. And an adapter trained on the text part as a model of its own (Qwen
3.5 as a causal LM) uses that model's names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.peft_config import PREFIX
from brulee.models.text_part import paths_beside, text_body

_PAIR = (".lora_A.", ".lora_B.")


def names_of_text(model: PreTrainedModel, names: str | list[str]) -> str | list[str]:
    """Target names without those that only match modules that text does not pass through."""
    beside = paths_beside(model)
    if isinstance(names, str) or not beside:
        return names
    paths = [path for path, _ in model.named_modules()]
    there = [path for path in paths if f"{path}.".startswith(beside)]
    of_text = [path for path in paths if not f"{path}.".startswith(beside)]
    return [n for n in names if _ends(of_text, n) or not _ends(there, n)]


def _ends(paths: list[str], name: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in paths)


def tensors_of_text(
    model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """An adapter's tensors for the text part, renamed to the whole model's paths.

    Raises InputError for a LoRA that changes other parts.
    """
    beside = paths_beside(model)
    if not beside:
        return dict(tensors)
    (path,) = (n for n, module in model.named_modules() if module is text_body(model))
    body, whole = f"{PREFIX}{model.base_model_prefix}.", f"{PREFIX}{path}."
    own = not any(key.startswith(whole) for key in tensors)
    found = {}
    for key, tensor in tensors.items():
        if not key.removeprefix(PREFIX).startswith(beside):
            moved = own and key.startswith(body)
            found[whole + key.removeprefix(body) if moved else key] = tensor
        elif not any(side in key for side in _PAIR):
            found[key] = tensor  # refused later, by name
        elif ".lora_B." in key and bool(tensor.any()):
            raise InputError(
                f"it changes {key.removeprefix(PREFIX).split('.lora_')[0]!r}, which text does not "
                "pass through, and only text is read here."
            )
    return found
