"""A stack holds numbers as far as it is read, and no more of it is written than has to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from brulee.inference.adapters import Adapters
from brulee.inference.joining import Arriving
from brulee.inference.rows import Rows
from brulee.inference.same_bits import KEYS, up
from brulee.models.loading import Base


def test_what_stood_in_memory_before_is_seen_by_nobody(
    make_base: Callable[..., Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = Adapters(make_base("llama", hidden_size=64)).engine.voices[None]
    ids = [5 + i % 90 for i in range(450)]

    def logits() -> torch.Tensor:
        arriving = Arriving(voice, ids)
        while not arriving.ready(100):
            arriving.read_on(100)
            for keys, _ in arriving._reader.stacks.values():
                untouched = keys[:, :, up(arriving.read, KEYS) :]
                assert not filled or bool(untouched.isnan().all())
        return arriving.become_row(Rows(1, len(ids) + 1), len(ids))

    with torch.no_grad():
        filled = False
        plain = logits()
        filled, empty = True, torch.Tensor.new_empty

        def dirty(tensor: torch.Tensor, *shape: int) -> torch.Tensor:
            return empty(tensor, *shape).fill_(float("nan"))

        monkeypatch.setattr(torch.Tensor, "new_empty", dirty)
        assert torch.equal(logits(), plain)
