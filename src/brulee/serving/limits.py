"""Bounds on what clients may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from brulee.errors import InputError
from brulee.inference.continuous import Room
from brulee.training.free import free_bytes


@dataclass(frozen=True)
class Limits:
    """How much at most; what is beyond is refused with the number."""

    rows: int = 16  # answers that are written at once
    waiting: int = 64  # answers that wait for their turn, beyond which is 429
    tokens: int = 1024  # of one answer
    cache_tokens: int = 32_768  # held at once, prompts and answers
    kept_bytes: int = 2**28  # of keys and values for who begins alike
    choices: int = 16  # answers to one request
    adapters: int = 64
    adapter_bytes: int = 512 * 2**20  # of one adapter's tensors
    rank: int = 256
    body_bytes: int = 2 * 2**20

    def room(self) -> Room:
        """What the engine holds at once."""
        return Room(self.rows, self.cache_tokens, kept_bytes=self.kept_bytes)


def kept_bytes(asked_mb: int | None, device: torch.device) -> int:
    """Bytes of what is kept for who begins alike: as asked, or a quarter of what is free, to 4 GiB.

    On a CPU they are taken as they are filled, on a GPU at the first request. Raises InputError
    where more are asked for than are free.
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
DEFAULT_TOKENS = 256  # of an answer whose request does not say, as in `brulee generate`
