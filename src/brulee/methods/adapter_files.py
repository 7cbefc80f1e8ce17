"""The files of an adapter's folder, in the layout PEFT reads: their names, records and digests.

adapter/
  adapter_config.json         PEFT's configuration
  adapter_model.safetensors   the tensors under PEFT's keys
  brulee.json                 the base's digest, the chat template, the recipe's method
  tokenizer.json ...          the tokenizer, if tokens were added to its vocabulary
  README.md                   model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from brulee.errors import InputError
from brulee.methods.soundness import read_json

CONFIG, WEIGHTS, OURS, CARD, TOKENIZER = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "brulee.json",
    "README.md",
    "tokenizer.json",
)
_RECORDED = {
    "method": "the method's name and its options",
    "merged": "the label and the digest of the adapter that was merged",
    "combined": "what was combined, and how",
    "start": "the adapter that training started from, and its digest",
}
_HELD = ("rope_scaling", "languages")  # how a base is held, by keys
_SIDES = ("source", "target")
_BASE_KEYS = ("base_model_name_or_path", "revision")


def read_record(folder: Path) -> dict[str, Any]:
    """The contents of brulee.json; {} if there is none. Raises InputError if it is damaged."""
    path = folder / OURS
    if not path.is_file():
        return {}
    ours = read_json(path)
    base = ours.get("base", {})
    if not isinstance(base, dict) or not all(
        isinstance(value, dict if key in _HELD else str) for key, value in base.items()
    ):
        raise InputError(f"{path}: 'base' must hold the base model's name, source and digest.")
    languages = base.get("languages", dict.fromkeys(_SIDES, ""))
    if set(languages) != set(_SIDES) or not all(isinstance(v, str) for v in languages.values()):
        raise InputError(f"{path}: 'base.languages' must hold a source and a target.")
    for key, what in _RECORDED.items():
        if not isinstance(ours.get(key, {}), dict):
            raise InputError(f"{path}: {key!r} must hold {what}.")
    return ours


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration, except for the location of the base."""
    kept = {key: value for key, value in config.items() if key not in _BASE_KEYS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names, shapes and bytes, independent of the file's layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
