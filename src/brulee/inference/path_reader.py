"""Reads a stream of branches: each token attends to the tokens on the stack below it only.

The stack holds the keys and values of one path from the beginning of a request to its end. In every
layer, a branch's keys and values go to their depth, and its queries attend to all up to there:

    stack        |-- P trained --|---- what requests share ----|-- own --|
    the branch's queries see      '----------------------------------------'

Nothing is padded, shared prefixes are not copied, and only one path is in memory.

Shapes: `T` tokens of a pass, `H` query heads, `K` key heads, `D` head width, `E` that of values,
`P` trained positions, `S` positions attended to, `N` positions of logits, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from brulee.inference.branches import Pass, Stream
from brulee.inference.kept import Beginning
from brulee.inference.on_device import on_device
from brulee.inference.reading import Pair, read
from brulee.inference.same_bits import KEYS, ROWS, attended, filled, up

# Stores what is needed, given a layer, its stack and how much of it a request fills.
Keep = Callable[[int, Pair, int], None]


@dataclass(frozen=True)
class Ending:
    """A request whose last token is the pass's token `last`; `keep` is called in every layer."""

    last: int
    keep: Keep


class PathReader:
    """Reads the passes of one stream, from the first to the last.

    The beginning of the stream may be `known` from the prefix cache and is then not read. `stacks`
    hold a path by layer, after the `trained` positions of a prefix.
    """

    def __init__(
        self, model: PreTrainedModel, stream: Stream, known: Beginning | None = None
    ) -> None:
        self.model, self.stream = model, stream
        self.device = next(model.parameters()).device
        self.stacks: dict[int, Pair] = {}
        self.trained = 0
        self._known = known or Beginning()
        self._cleared: dict[int, int] = {}
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}
        self._pass = Pass(0, 0, ())
        self._endings: Sequence[Ending] = ()

    @torch.no_grad()
    def read(self, part: Pass, rows: torch.Tensor, endings: Sequence[Ending] = ()) -> torch.Tensor:
        """Logits (N, V) after the pass's tokens at `rows` (N)."""
        self._pass, self._masks, self._endings = part, {}, endings
        ids = torch.from_numpy(self.stream.ids[part.start : part.stop])
        depths = torch.from_numpy(self.stream.depths[part.start : part.stop])
        # Padding for the rounded-up last branch.
        spare = max(ROWS, part.branches[-1].start + up(part.branches[-1].tokens)) - len(ids)
        logits_NV = read(
            self.model,
            on_device(F.pad(ids, (0, spare), value=int(ids[0])), self.device),
            on_device(F.pad(depths, (0, spare)), self.device),
            self,
            F.pad(rows, (0, filled(len(rows), self.model) - len(rows))),
        )
        return logits_NV[: len(rows)]

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one layer: query (1, H, T, D), new keys (1, K, P + T, D); (1, T, H, E)."""
        self.trained = trained = new[0].shape[2] - query.shape[2]
        stack = self._stack(layer, new, trained)
        _, H, T, _ = query.shape
        out = query.new_empty(1, T, H, new[1].shape[3])  # values may be narrower (DeepSeek's)
        for at, branch in enumerate(self._pass.branches):
            tokens, bottom = branch.tokens, trained + branch.depth
            self._clear(layer, stack, up(bottom + tokens, KEYS))
            for held, given in zip(stack, new, strict=True):
                fresh = given[:, :, trained + branch.start : trained + branch.stop]
                held[:, :, bottom : bottom + tokens] = fresh
            # Rows beyond the branch belong to the next one, which overwrites them.
            rows = slice(branch.start, branch.start + up(tokens))
            asked = query[:, :, rows]
            keys, values = (held[:, :, : up(bottom + tokens, KEYS)] for held in stack)
            mask_TS = self._mask(at, asked, bottom, keys.shape[2], window)
            out[:, rows] = attended(asked, keys, values, mask_TS, scaling)
            for ending in self._endings:
                if branch.start <= ending.last < branch.stop:
                    ending.keep(layer, stack, bottom + ending.last - branch.start + 1)
        return out

    def _stack(self, layer: int, new: Pair, trained: int) -> Pair:
        if layer not in self.stacks:
            room = up(trained + self.stream.deepest, KEYS)
            stack = tuple(x.new_empty(1, x.shape[1], room, x.shape[3]) for x in new)
            for held, given in zip(stack, new, strict=True):
                held[:, :, :trained] = given[:, :, :trained]
            self.stacks[layer] = (stack[0], stack[1])
            self._known.put(layer, self.stacks[layer], trained)
            self._cleared[layer] = trained + self._known.tokens
        return self.stacks[layer]

    def _clear(self, layer: int, stack: Pair, stop: int) -> None:
        """Zero a stack up to `stop`, step by step, since a long one would take a while."""
        start = self._cleared[layer]
        if start < stop:
            for held in stack:
                held[:, :, start:stop] = 0
            self._cleared[layer] = stop

    def _mask(
        self, at: int, asked: torch.Tensor, bottom: int, keys: int, window: int | None
    ) -> torch.Tensor:
        """The additive mask for the scores of a branch's queries, (T, S): 0 or minus infinity."""
        if (at, window) not in self._masks:
            key_S = torch.arange(keys, device=asked.device)
            own_T = torch.arange(asked.shape[2], device=asked.device) + bottom
            behind_TS = own_T[:, None] - key_S[None, :]
            hidden_TS = (behind_TS < 0) | (behind_TS >= (window or keys))
            zeros_TS = asked.new_zeros(hidden_TS.shape)
            self._masks[at, window] = zeros_TS.masked_fill_(hidden_TS, float("-inf"))
        return self._masks[at, window]
