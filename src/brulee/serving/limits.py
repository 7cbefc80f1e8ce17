"""Bounds on what clients may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.inference.continuous import Room


@dataclass(frozen=True)
class Limits:
    """How much at most; what is beyond is refused with the number."""

    rows: int = 16  # answers that are written at once
    waiting: int = 64  # answers that wait for their turn, beyond which is 429
    tokens: int = 1024  # of one answer
    cache_tokens: int = 32_768  # held at once, prompts and answers
    choices: int = 16  # answers to one request
    adapters: int = 64
    adapter_bytes: int = 512 * 2**20  # of one adapter's tensors
    rank: int = 256
    body_bytes: int = 2 * 2**20

    def room(self) -> Room:
        """What the engine holds at once."""
        return Room(self.rows, self.cache_tokens)


DEFAULT_TOKENS = 256  # of an answer whose request does not say, as in `brulee generate`
