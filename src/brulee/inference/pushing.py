"""One pass over new tokens of rows, each computed with its row's voice.

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brulee.inference.on_device import on_device
from brulee.inference.reading import Reader, read
from brulee.inference.routing import Router
from brulee.inference.row import Voice
from brulee.inference.rows import Rows
from brulee.inference.same_bits import filled


@torch.no_grad()
def push(
    rows: Rows,
    tokens: Sequence[Sequence[int]],
    device: torch.device,
    router: Router | None = None,
) -> torch.Tensor:
    """Append tokens to every row; returns logits (N, V) after each token, row by row.

    `router` is needed if there is more than one voice, and must have them all.
    """
    counts = [len(own) for own in tokens]
    total = sum(counts)
    spare = filled(total, rows.rows[0].voice.model) - total
    ids = [token for own in tokens for token in own]
    every = [(row, i) for row, n in zip(rows.rows, counts, strict=True) for i in range(n)]
    voices = [row.voice for row, _ in every]
    positions = [row.position + i for row, i in every]
    logits = _read(
        [*ids, *ids[:1] * spare],
        [*positions, *[0] * spare],
        [*voices, *voices[:1] * spare],
        rows.begin(counts, device),
        device,
        router,
    )
    rows.end(counts)
    return logits[:total]


def _read(
    ids: list[int],
    positions: list[int],
    voices: Sequence[Voice],
    reader: Reader,
    device: torch.device,
    router: Router | None,
) -> torch.Tensor:
    """Logits after each token, computed with its voice."""
    at = torch.arange(len(ids), device=device)
    read_T = on_device(ids, device)
    position_T = on_device(positions, device)
    if len(set(voices)) == 1:
        return read(voices[0].model, read_T, position_T, reader, at)
    assert router is not None, "several voices need a router"
    with router.computing([voice.name for voice in voices], device) as shifts:
        position_T += on_device(shifts, device)
        return read(router.model, read_T, position_T, reader, at)
