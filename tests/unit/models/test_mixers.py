"""Documents of a pack are taken apart for a mixer with a state, and put together again."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

from brulee.models import mixers
from brulee.models.fused_decoder import fused_decoder
from brulee.models.mixers import apart, mixed
from brulee.models.spans import asking, spans_of

_FOUND = runpy.run_path(str(Path(__file__).parent / "families.py"))
make_family: Callable[..., PreTrainedModel] = _FOUND["make_family"]
SEGMENTS = (3, 2, 9, 1, 5)
ASKED = ((0, 1, 4, 1, 5), (2, 1, 4, 0, 5))


class _Sums(nn.Module):
    """The sum of a row's tokens so far, in a tuple as some mixers return it."""

    def forward(self, x_BLD: torch.Tensor, mask: Any, scale: float = 1.0) -> tuple[torch.Tensor]:
        assert mask is None
        return (x_BLD.cumsum(1) * scale,)


def _each(x_TD: torch.Tensor, shared: int) -> list[torch.Tensor]:
    """What each segment of the pack gets, with what it has in common with the others before it."""
    own = list(x_TD.split(list(SEGMENTS)))
    begun = own[0].sum(0) if shared else 0.0
    return [part.cumsum(0) + (begun if at else 0.0) for at, part in enumerate(own)]


@pytest.mark.parametrize("padding", [0, 512], ids=["a call each", "one call"])
@pytest.mark.parametrize("shared", [0, 3])
def test_every_document_is_mixed_alone(
    shared: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixers, "_PADDING", padding)
    x_TD = torch.randn(sum(SEGMENTS), 4, dtype=torch.float64)
    expected = _each(x_TD, shared)
    where = apart(spans_of(SEGMENTS, shared), x_TD.device)
    assert (len(where.calls) > 1) == (padding == 0)
    made = mixed(_Sums(), x_TD, where, len(x_TD) + 2)
    torch.testing.assert_close(made[:-2], torch.cat(expected))
    assert not made[-2:].any()
    for asks in ASKED:
        asked = [part[len(part) - n :] for part, n in zip(expected, asks, strict=True)]
        where = apart(asking(SEGMENTS, shared, asks), x_TD.device)
        torch.testing.assert_close(mixed(_Sums(), x_TD, where, sum(asks)), torch.cat(asked))


def test_a_mixer_that_reads_ahead_is_left_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding after a document would reach it."""
    assert fused_decoder(make_family("lfm2")) is not None
    forward: Any = Lfm2ShortConv.forward

    def ahead(self: Lfm2ShortConv, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        return forward(self, hidden_states.flip(1)).flip(1)

    monkeypatch.setattr(Lfm2ShortConv, "forward", ahead)
    assert fused_decoder(make_family("lfm2")) is None
