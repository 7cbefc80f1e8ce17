"""The speed of a model's prefill and decoding, and its peak memory.

Prefill and decoding are separated by running the same prompts twice: once for a single new token,
which needs only the prefill, and once for more. The additional time of the second run is spent on
the additional tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from brulee.errors import InputError
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.training.memory import peak_bytes, reset_peak

NEW_TOKENS = 32
Clock = Callable[[], float]


@dataclass(frozen=True)
class Efficiency:
    """Seconds, tokens and bytes of a measurement with `requests` prompts."""

    requests: int
    prefill_seconds: float
    prefill_tokens: int
    decode_seconds: float
    decode_tokens: int
    peak_memory_bytes: int

    @property
    def prefill_tokens_per_second(self) -> float:
        """Prompt tokens per second."""
        return _rate(self.prefill_tokens, self.prefill_seconds)

    @property
    def decode_tokens_per_second(self) -> float:
        """Generated tokens per second, without each request's first."""
        return _rate(self.decode_tokens, self.decode_seconds)

    def as_dict(self) -> dict[str, Any]:
        """All fields, with the rates."""
        return {
            **asdict(self),
            "prefill_tokens_per_second": self.prefill_tokens_per_second,
            "decode_tokens_per_second": self.decode_tokens_per_second,
        }


def measure(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    new_tokens: int = NEW_TOKENS,
    clock: Clock = time.perf_counter,
) -> Efficiency:
    """Time the generation for some prompts, in the batches that the engine forms.

    Raises InputError for no prompt, or for less than two new tokens.
    """
    if not prompts or new_tokens < 2:
        raise InputError("efficiency is measured on at least one prompt and two new tokens.")
    engine.generate(prompts[:1], Sampling(2))  # warm-up: caches are not timed
    reset_peak(engine.device)
    prefill, _ = _timed(engine, prompts, 1, clock)
    whole, written = _timed(engine, prompts, new_tokens, clock)
    return Efficiency(
        requests=len(prompts),
        prefill_seconds=prefill,
        prefill_tokens=sum(map(len, prompts)),
        decode_seconds=max(whole - prefill, 0.0),
        decode_tokens=sum(max(len(ids) - 1, 0) for ids in written),
        peak_memory_bytes=peak_bytes(engine.device),
    )


def _timed(
    engine: Engine, prompts: Sequence[Sequence[int]], new_tokens: int, clock: Clock
) -> tuple[float, list[list[int]]]:
    start = clock()
    written = engine.generate(prompts, Sampling(new_tokens))
    return clock() - start, written


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0
