"""Writes adapters, and the records of models, to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from brulee.methods.adapter_files import CARD, CONFIG, OURS, WEIGHTS, config_digest, tensors_digest
from brulee.methods.base import Attached
from brulee.models.disk import as_umask_says
from brulee.models.loading import Base


def save_adapter(
    folder: Path, attached: Attached, base: Base, source: str, card: str, extra: dict[str, Any]
) -> int:
    """Write an adapter folder; returns the size of its weights in bytes.

    `source` is what the recipe called the base; `extra` is added to brulee.json.
    """
    source = _from_anywhere(source, base)
    lies = source if source != "bundled" else str(base.folder)
    config = {"base_model_name_or_path": lies, **_revision(base), **attached.config()}
    if base.added:
        folder.mkdir(parents=True, exist_ok=True)
        base.tokenizer.save_pretrained(folder)
    extra = {**extra, **_added(base)}
    return write_adapter(folder, config, attached.tensors(), _named(base, source), card, extra)


def write_adapter(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    base: dict[str, Any],
    card: str,
    extra: dict[str, Any],
) -> int:
    """Write the files of an adapter; returns the size of its weights in bytes.

    `base` describes the base in brulee.json: name, source, digest and, if known, revision,
    quantised, rope_scaling and languages. `extra` is added at the top level.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / CONFIG, config)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    as_umask_says(folder)
    digests = {"config_digest": config_digest(config), "tensors_digest": tensors_digest(tensors)}
    _write_json(folder / OURS, {"base": base, **digests, **extra})
    (folder / CARD).write_text(card, encoding="utf-8")
    return (folder / WEIGHTS).stat().st_size


def write_record(folder: Path, base: Base, source: str, extra: dict[str, Any]) -> None:
    """Write brulee.json, which records what the model in the same folder was made from."""
    _write_json(folder / OURS, {"base": _named(base, source), **extra, **_added(base)})


def _added(base: Base) -> dict[str, Any]:
    """The tokens that the base was loaded with beyond those of its files, if any."""
    return {"added_tokens": [token.record for token in base.added]} if base.added else {}


def _named(base: Base, source: str) -> dict[str, Any]:
    """What brulee.json records about a base."""
    named = {"name": base.name, "source": source, "digest": base.digest, **_revision(base)}
    held = {
        "quantised": base.quantised,
        "rope_scaling": base.rope_scaling,
        "languages": base.languages,
    }
    return named | {key: value for key, value in held.items() if value is not None}


def _revision(base: Base) -> dict[str, str]:
    return {} if base.revision is None else {"revision": base.revision}


def _from_anywhere(source: str, base: Base) -> str:
    """A local base by its absolute path, so that the adapter finds it from any folder."""
    if source == "bundled":
        return source
    name = Path(source).name
    for path in (Path(source), base.folder, base.folder / name):
        if path.exists() and path.name == name:
            return str(path.resolve())
    return source


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
