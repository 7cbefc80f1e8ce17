"""Size checks of an adapter from its files' headers, before any of it is allocated."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import safe_open

from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.checkpoint import open_adapter
from brulee.models.whole_files import check_safetensors
from brulee.serving.limits import Limits

_BLOCK = 2**20


def check_bounds(folder: Path, limits: Limits) -> None:
    """Check the bytes and the rank of an adapter.

    Raises InputError with the number and the limit, and for files that are not an adapter.
    """
    path = folder / WEIGHTS
    adapter = open_adapter(folder)
    size = path.stat().st_size  # a header that claims more is refused below
    if size > limits.adapter_bytes:
        raise InputError(f"{path}: {size} bytes; at most {limits.adapter_bytes} are loaded.")
    check_safetensors(path)
    # All experts' factors are one tensor, so only the configured ranks can be checked.
    several = bool(adapter.config.get("target_parameters"))
    for what, rank in {**_said(adapter.config), **({} if several else _stored(path))}.items():
        if rank > limits.rank:
            raise InputError(f"{path}: rank {rank} ({what}); at most {limits.rank} is loaded.")


def digest(folder: Path) -> str:
    """SHA-256 of the files that determine what an adapter computes."""
    found = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, OURS):
        path = folder / name
        found.update(f"{name} {path.is_file()}\n".encode())
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    found.update(block)
    return found.hexdigest()


def _said(config: dict[str, Any]) -> dict[str, int]:
    """Ranks in the configuration."""
    pattern = config.get("rank_pattern")
    named = {"r": config.get("r"), **(pattern if isinstance(pattern, dict) else {})}
    return {f"{key} of {CONFIG}": rank for key, rank in named.items() if isinstance(rank, int)}


def _stored(path: Path) -> dict[str, int]:
    """Ranks of the stored factors, by the shapes in the header."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if "lora_A" in name]  # noqa: SIM118 (no mapping)
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    return {name: shape[0] for name, shape in shapes.items() if shape}
