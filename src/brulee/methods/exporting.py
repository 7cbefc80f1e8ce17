"""Export for other programs: a GGUF file of a tuned model, or of a LoRA to use with its base."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from brulee.errors import InputError, unknown
from brulee.methods.checkpoint import open_adapter
from brulee.methods.gguf_adapter import write_adapter
from brulee.methods.merging import merge
from brulee.methods.shelf import Stored
from brulee.methods.whole import check_whole
from brulee.models.disk import nearest_folder, try_writing
from brulee.models.gguf_model import DTYPES, Written, write_model
from brulee.models.gguf_names import architecture_of
from brulee.models.loading import load_base
from brulee.models.skeleton import load_skeleton

FORMATS = ("gguf", "gguf-lora")


@dataclass(frozen=True)
class Exported:
    """A written file: what it holds, its dtype, and its size in bytes.

    `halved`: the number of matrices stored in float16, as q8_0 does not support their row length.
    """

    file: Path
    holds: str
    dtype: str
    size: int
    halved: int


def export(
    stored: Stored, out: Path, to: str = "gguf", dtype: str = "float16", base: str | None = None
) -> Exported:
    """Write a tuned model (`gguf`; an adapter is merged first) or a LoRA (`gguf-lora`).

    Raises InputError for a file that already exists, and for a model, tokenizer or method that the
    format cannot represent.
    """
    for kind, given, valid in (("format", to, FORMATS), ("dtype", dtype, DTYPES)):
        if given not in valid:
            raise unknown(kind, given, valid, f"--{'to' if kind == 'format' else kind}")
    if out.exists():
        raise InputError(f"{out}: exists already; name another file.")
    if out.suffix != ".gguf":
        raise InputError(f"{out}: a GGUF file's name ends in .gguf.")
    try_writing(nearest_folder(out.parent, "the folder of the GGUF file"))
    if stored.kind == "model":
        return _model(stored.folder, stored, "whole model", out, to, dtype)
    adapter = open_adapter(stored.folder)
    name, revision = adapter.named_base(base)
    label = adapter.label()
    if to == "gguf-lora":
        return _exported(out, label, dtype, write_adapter(adapter, base, out, dtype))
    skeleton = load_skeleton(name, revision, adapter.rope_scaling)
    architecture_of(skeleton.config)  # refused before anything is merged
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=_beside(out)) as aside:
        folder = merge(stored.folder, Path(aside) / "model", "float32", name).folder
        return _model(folder, stored, f"{label}, merged", out, "gguf", dtype)


def _model(folder: Path, stored: Stored, label: str, out: Path, to: str, dtype: str) -> Exported:
    if to != "gguf":
        raise InputError(f"{folder}: a whole model is not a LoRA; write it with --to gguf.")
    base = load_base(str(folder), torch.float32, torch.device("cpu"))
    check_whole(folder, base)
    named = replace(base, name=(stored.run() or stored.folder).name)
    return _exported(out, label, dtype, write_model(named, out, dtype))


def _exported(out: Path, label: str, dtype: str, written: Written) -> Exported:
    return Exported(out, label, dtype, written.size, written.halved)


def _beside(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent
