"""Check that a weights file is complete, before anything reads it."""

from __future__ import annotations

import struct
from pathlib import Path

from brulee.errors import InputError


def check_safetensors(path: Path) -> None:
    """Raise InputError unless a safetensors file is complete and consistent.

    That is: not truncated, a header no longer than the file, and tensors of known types that fill
    the file exactly. Reads the header only.
    """
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8:
        raise InputError(f"{path}: corrupt safetensors: the file has only {size} bytes.")
    (length,) = struct.unpack("<Q", head)
    if length > min(size - 8, 100_000_000):
        raise InputError(
            f"{path}: corrupt safetensors: its header claims {length} bytes, the file has {size}."
        )
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")[:160]
        raise InputError(
            f"{path}: corrupt safetensors: {reason} (the file has {size} bytes); fetch it again."
        ) from None


def check_gguf(path: Path) -> None:
    """Raise InputError unless the file is a complete GGUF."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(
                f"{path}: not a GGUF file (its first four bytes are not 'GGUF'); "
                "a model is a folder, a .gguf file or a Hub id."
            )
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: corrupt or truncated GGUF ({reason}); fetch the file again."
        ) from None
    if not tensors:
        raise InputError(f"{path}: a GGUF without tensors is not a model.")
