"""Encoder-decoder generation for several adapters: prompts are read at once, rows share passes.

Shapes: `N` prompts, `V` vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.routing import Router
from brulee.inference.row import Voice


class PairDecoder:
    """Continues every prompt in one row, or in `copies` rows; voices[i] answers prompts[i].

    Adjacent prompts of one voice are read by its encoder together; prompt i gets at most most[i]
    new tokens.
    """

    several = False

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        voices: Sequence[Voice],
        most: Sequence[int],
        router: Router | None,
        pad_id: int,
        copies: int = 1,
    ) -> None:
        self._prompts, self._voices, self._most, self._pad_id = prompts, voices, most, pad_id
        self.rows = PairRows(len(prompts), voices[0].model.device, router)
        self.waiting, self.free = len(prompts), copies * len(prompts)

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read all prompts; returns their indices and logits (N, V) after each."""
        assert most >= self.waiting, "prompts are read all at once"
        self.waiting = self.free = 0
        everything = list(range(len(self._prompts)))
        logits = []
        for voice, numbers in itertools.groupby(everything, key=lambda i: self._voices[i]):
            own = list(numbers)
            read = PaddedDecoder(voice.model, [self._prompts[i] for i in own], self._pad_id)
            logits.append(read.admit(len(own))[1])
            self.rows.join(read, voice, [(len(self._prompts[i]), self._most[i]) for i in own])
        return everything, torch.cat(logits)

    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append a token to every row; returns logits (N, V) after it."""
        return self.rows.push(tokens)

    def cut(self, counts: Sequence[int]) -> None:
        """Assert that nothing is cut, since rows take one token at a time."""
        self.rows.cut(counts)

    def drop(self, gone: list[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place."""
        return self.rows.drop(gone)

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        self.rows.select(parents)
