"""Prompts that one model reads as a stream, turning them into rows to continue.

Shapes: `N` prompts, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import torch

from brulee.inference.branches import lay_out
from brulee.inference.on_device import on_device
from brulee.inference.path_reader import Ending, Keep, PathReader
from brulee.inference.reading import Pair
from brulee.inference.row import Row, Shared, Voice
from brulee.inference.rows import Rows
from brulee.inference.sharing import Group


class Prompts:
    """One voice's prompts of a wave, in order, in groups that share a prefix."""

    def __init__(
        self,
        voice: Voice,
        prompts: Sequence[Sequence[int]],
        groups: Sequence[Group],
        pass_tokens: int,
    ) -> None:
        self.voice, self.prompts = voice, prompts
        self._pass_tokens = pass_tokens
        self._stream = lay_out(prompts, [len(p) - 1 for p in prompts])
        self._reader = PathReader(voice.model, self._stream)
        self._read = self._next = 0
        nothing = Shared()
        self._shared = [Shared() if g.tokens else nothing for g in groups]
        self._group_of = [k for k, g in enumerate(groups) for _ in range(g.start, g.stop)]
        self._groups = groups

    @property
    def waiting(self) -> int:
        """How many prompts have not been read."""
        return len(self.prompts) - self._next

    def admit(self, most: int, rows: Rows) -> torch.Tensor:
        """Read at most `most` further prompts into rows; returns logits (N, V) after each."""
        chosen = list(range(self._next, min(self._next + most, len(self.prompts))))
        self._next += len(chosen)
        ends = [int(self._stream.paths[i][0]) for i in chosen]
        keeps = [self._opened(i, rows) for i in chosen]
        logits: dict[int, torch.Tensor] = {}
        # A prompt that equals the last one read is on the stack; its last token is read again.
        for part in self._stream.passes(min(self._read, ends[0]), ends[-1] + 1, self._pass_tokens):
            inside = [k for k, end in enumerate(ends) if part.start <= end < part.stop]
            asked = sorted({ends[k] for k in inside})
            endings = [Ending(ends[k] - part.start, keeps[k]) for k in inside]
            at = on_device(asked, self._reader.device, torch.long) - part.start
            found = self._reader.read(part, at, endings)
            logits.update(zip(asked, found, strict=True))
        self._read = ends[-1] + 1
        return torch.stack([logits[end] for end in ends])

    def let_go(self, held: Collection[int]) -> None:
        """Free the shared prefixes that no row, present or future, reads any more."""
        for group, shared in zip(self._groups, self._shared, strict=True):
            if group.stop <= self._next and id(shared) not in held:
                shared.layers.clear()

    def _opened(self, prompt: int, rows: Rows) -> Keep:
        """Add a row for a prompt; returns what stores its keys and values as they are computed."""
        group = self._group_of[prompt]
        shared, tokens = self._shared[group], len(self.prompts[prompt])
        own = tokens - self._groups[group].tokens
        rows.rows.append(Row(shared, tokens - own, own, tokens, self.voice))
        return partial(_keep, rows, len(rows.rows) - 1)


def _keep(rows: Rows, at: int, layer: int, stack: Pair, top: int) -> None:
    rows.keep(layer, at, stack, top)
