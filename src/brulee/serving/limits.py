"""Limits on what clients may request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from brulee.errors import InputError
from brulee.inference.continuous import Room
from brulee.training.free import free_bytes


@dataclass(frozen=True)
class Limits:
    """Maxima; requests beyond them are refused with the number."""

    rows: int = 16  # answers that are generated at once
    waiting: int = 64  # answers that may wait; more get status 429
    tokens: int = 1024  # of one answer
    cache_tokens: int = 32_768  # held at once, prompts and answers
    kept_bytes: int = 2**28  # of keys and values in the prefix cache
    choices: int = 16  # answers to one request
    adapters: int = 64
    adapter_bytes: int = 512 * 2**20  # of one adapter's tensors
    rank: int = 256
    body_bytes: int = 2 * 2**20

    def room(self) -> Room:
        """The same limits for the engine."""
        return Room(self.rows, self.cache_tokens, kept_bytes=self.kept_bytes)


def kept_bytes(asked_mb: int | None, device: torch.device) -> int:
    """Bytes of the prefix cache: as requested, or a quarter of free memory up to 4 GiB.

    On a CPU, memory is used as the cache fills, on a GPU from the first request. Raises InputError
    if more is requested than is free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = free_bytes()
    if asked_mb is None:
        return min(free // 4, _MOST_KEPT)
    if asked_mb * 2**20 > free:
        raise InputError(f"--cache {asked_mb}: only {free // 2**20} megabytes are free.")
    return asked_mb * 2**20


_MOST_KEPT: Final = 2**32
DEFAULT_TOKENS = 256  # of an answer, by default, as in `brulee generate`
