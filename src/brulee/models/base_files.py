"""The weight files of a base: which they are, what they say, and whether the model is theirs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.bundled import bundled_folder, sha256
from brulee.models.named import OTHER_FORMAT, WEIGHTS, check_name, downloaded


def base_digest(name: str, revision: str | None = None) -> str:
    """The digest that `load_base` would give a model, computed from its files alone.

    Raises InputError if there is no such model.
    """
    path = bundled_folder() if name == "bundled" else Path(name)
    if path.is_file():
        return sha256(path)
    if not path.is_dir():
        check_name(name)
        path = downloaded(name, revision, WEIGHTS)
    return digest_of(weight_files(path))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder. Raises InputError if there is none."""
    found = sorted(folder.glob("*.safetensors"))
    # Mistral's own format, which transformers does not read, lies beside the model.
    weights = [file for file in found if not file.match(OTHER_FORMAT)] or found
    if not weights:
        raise InputError(
            f"{folder}: no *.safetensors file with weights; only safetensors is read, never pickle "
            "(*.bin): on the Hub, model.revision may name a conversion, refs/pr/N."
        )
    return weights


def digest_of(files: list[Path]) -> str:
    """The SHA-256 over the names and digests of files."""
    parts = "\n".join(f"{file.name} {sha256(file)}" for file in files)
    return hashlib.sha256(parts.encode()).hexdigest()


def check_weights(folder: Path, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Raise InputError if the weights do not match config.json; transformers would only warn.

    Unused weights are common (a head, a vision tower), but an unused layer means a wrong config.
    """
    if info["mismatched_keys"]:
        name, found, wanted = sorted(info["mismatched_keys"])[0]
        raise InputError(
            f"{folder}: {name} has shape {tuple(found)}, but its config.json describes "
            f"{tuple(wanted)}."
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise InputError(f"{folder}: weights missing for {missing[0]} ({len(missing)} in all).")
    known = {re.sub(r"\d+", "N", name) for name in model.state_dict()}
    layers = sorted(n for n in info["unexpected_keys"] if re.sub(r"\d+", "N", n) in known)
    if layers:
        raise InputError(
            f"{folder}: its weights hold {layers[0]} ({len(layers)} such in all), a layer that its "
            "config.json does not describe."
        )
