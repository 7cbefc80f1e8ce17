"""Prefill and decode told apart, on a clock of our own and on a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.errors import InputError
from brulee.evaluation.efficiency import Efficiency, measure
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TimedEngine:
    """Reads ten tokens a second, writes two; every request ends one token early."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.now = 0.0

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        steps = sampling.max_new_tokens
        self.now += sum(map(len, prompts)) / 10 + (steps - 1) / 2
        return [[0] * max(steps - 1, 1) for _ in prompts]


def test_what_more_tokens_take_longer_is_decoding() -> None:
    engine: Any = TimedEngine()
    found = measure(engine, [[1] * 30, [1] * 20], 9, clock=lambda: engine.now)
    assert found.requests == 2
    assert found.prefill_seconds == pytest.approx(5.0)
    assert found.prefill_tokens_per_second == pytest.approx(10.0)
    assert found.decode_seconds == pytest.approx(4.0)
    assert found.decode_tokens == 2 * 7
    assert found.as_dict()["decode_tokens_per_second"] == pytest.approx(14 / 4)
    assert found.peak_memory_bytes > 0


def test_a_model_that_writes_nothing_has_no_rate() -> None:
    assert Efficiency(1, 1.0, 10, 0.0, 0, 5).decode_tokens_per_second == 0.0


def test_a_tiny_model_is_measured(make_model: Callable[..., PreTrainedModel]) -> None:
    engine = Engine(make_model("llama"), [2], 0)
    found = measure(engine, [[5, 6, 7], [8, 9]], 8)
    assert found.prefill_tokens == 5
    assert 0 < found.decode_tokens <= 14
    assert found.prefill_tokens_per_second > 0


def test_nothing_to_measure_is_refused() -> None:
    engine: Any = SimpleNamespace()
    with pytest.raises(InputError, match="at least one prompt"):
        measure(engine, [])
    with pytest.raises(InputError, match="two new tokens"):
        measure(engine, [[1]], 1)
