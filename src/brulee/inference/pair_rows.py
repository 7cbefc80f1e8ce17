"""Rows of an encoder-decoder that go on together, though they began at different tokens.

    own, of each layer        columns: a row's last one is the pass's last one
    row 0    | s a a a a a a |
    row 1    | - - - s b b b |         s: the token that every decoder begins with
    read of the prompt        columns: from the first one on
    row 0    | p p p p p - - |
    row 1    | q q q q q q q |

Because all rows end in one column, the distance between two tokens of a row is that between their
columns, as models with relative positions count it; a model that looks positions up is told each
row's (`positions`). Columns that are not a row's hold zeros, and the mask hides them.

Shapes: `B` rows, `R` rows that there is room for, `K` heads, `C` columns, `D` head width, `V`
vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from brulee.inference.cache import RoomyLayer
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.reading import Pair
from brulee.inference.routing import Router
from brulee.inference.row import Voice, closed_up
from brulee.models.cache_names import cache_name
from brulee.models.turns import turn

_POSITIONS = "decoder_position_ids"


@dataclass(frozen=True)
class PairRow:
    """Who answers, how many tokens its prompt has, and its own positions, a prefix's included."""

    voice: Voice
    source: int
    own: int


class PairRows:
    """At most `most` rows; `router` is needed for several voices.

    Without a router all rows are of one voice, which puts nothing into its decoder's cache.
    """

    several = False

    def __init__(self, most: int, device: torch.device, router: Router | None = None) -> None:
        self._most, self._device, self._router = most, device, router
        self._empty()

    def _empty(self) -> None:
        self.rows: list[PairRow] = []
        self._own: list[Pair] = []
        self._source: list[Pair] = []
        self._room = self._own_room = self._source_room = self._end = self._before = self._width = 0

    @property
    def tokens(self) -> int:
        """Tokens that there is room for, of prompts and of what follows them."""
        return self._room * (self._own_room + self._source_room)

    def needed(self, joining: Sequence[tuple[int, int]]) -> int:
        """Tokens there has to be room for with more rows, each so long a prompt and what follows.

        Room that is held for rows to come is given up for them.
        """
        if not joining:
            return self.tokens
        source = max(self._source_room, *(prompt for prompt, _ in joining))
        own = max(self._own_room, *(most for _, most in joining))
        return (len(self.rows) + len(joining)) * (source + own)

    def join(
        self, read: PaddedDecoder, voice: Voice, joining: Sequence[tuple[int, int]], tokens: int = 0
    ) -> None:
        """Prompts that are read become the last rows, each so long and followed by so many tokens.

        There is room for more rows then, if it can be had within `tokens`.
        """
        cache = read.cache
        own, source = (
            [(layer.keys, layer.values) for layer in part.layers]
            for part in (cache.self_attention_cache, cache.cross_attention_cache)
        )
        self._width = read.encoded.last_hidden_state.shape[-1]
        begun = own[0][0].shape[2]
        self._before = max(self._before, begun - 1)
        self._reserve(self._sizes(joining, tokens), own, source)
        self._align(begun)
        for i, (prompt, _) in enumerate(joining):
            at = len(self.rows)
            _put(self._own, own, i, at, slice(0, begun), self._end - begun)
            _put(self._source, source, i, at, slice(0, prompt), 0)
            self.rows.append(PairRow(voice, prompt, begun))

    @torch.no_grad()
    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append a token to every row; logits (B, V) after it."""
        self._make_column()
        ids_B1 = torch.tensor(tokens, device=self._device)
        with self._computing() as model, turn(model), positions(model, self._owned()):
            output = model(**self._inputs(model, ids_B1), use_cache=True)
        self._end += 1
        self.rows = [replace(row, own=row.own + 1) for row in self.rows]
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last so many tokens of each row: none, as none is given several."""
        assert not any(counts), "a row is given one token at a time"

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place.

        Without rows there is no room held either.
        """
        order = closed_up(len(self.rows), gone)
        for at, old in enumerate(order):
            if at != old:
                for buffer in self._buffers():
                    buffer[at] = buffer[old]
        self.rows = [self.rows[old] for old in order]
        if not order:
            self._empty()
        return order

    def select(self, parents: Sequence[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        if list(parents) == list(range(len(self.rows))):
            return
        at = torch.tensor(parents, device=self._device)
        self._own = [(keys[at], values[at]) for keys, values in self._own]
        self._source = [(keys[at], values[at]) for keys, values in self._source]
        self.rows, self._room = [self.rows[parent] for parent in parents], len(parents)

    def _sizes(self, joining: Sequence[tuple[int, int]], tokens: int) -> tuple[int, int, int]:
        """Rows, own positions and those of a prompt that there is to be room for."""
        count = len(self.rows) + len(joining)
        source = max(self._source_room, *(prompt for prompt, _ in joining))
        own = max(self._own_room, *(most for _, most in joining))
        # Twice as many, or each row that joins would have all others copied.
        wanted = self._room if count <= self._room else min(2 * len(self.rows), self._most)
        return max(count, min(wanted, tokens // (source + own))), own, source

    def _reserve(self, sizes: tuple[int, int, int], own: list[Pair], source: list[Pair]) -> None:
        """Have room for what is there and for rows like these."""
        room, own_room, source_room = sizes
        columns = own_room + self._before
        if not self._own or (room, columns) != self._own[0][0].shape[::2]:
            width = self._longest()
            self._own = _moved(self._own or own, room, columns, self._live(), self._end - width)
            self._end = width
        if not self._source or (room, source_room) != self._source[0][0].shape[::2]:
            self._source = _moved(self._source or source, room, source_room, self._live(), 0)
        self._room, self._own_room, self._source_room = sizes

    def _align(self, begun: int) -> None:
        """Have rows end where one that has begun fits before."""
        if self._end >= begun:
            return
        for buffer in self._own_buffers():
            held = buffer[: len(self.rows), :, : self._end].clone()
            buffer[: len(self.rows), :, :begun] = 0
            buffer[: len(self.rows), :, begun - self._end : begun] = held
        self._end = begun

    def _make_column(self) -> None:
        """Have a column after the last: those before the longest row's first are given up."""
        columns, width = self._own[0][0].shape[2], self._longest()
        if self._end < columns:
            return
        assert width < columns, "a row takes no more tokens than it was given room for"
        for buffer in self._own_buffers():
            held = buffer[: len(self.rows), :, self._end - width : self._end].clone()
            buffer[: len(self.rows), :, :width] = held
        self._end = width

    def _live(self) -> int:
        return len(self.rows)

    def _longest(self) -> int:
        return max(self._owned(), default=0)

    def _owned(self) -> list[int]:
        return [row.own for row in self.rows]

    def _own_buffers(self) -> Iterator[torch.Tensor]:
        for pair in self._own:
            yield from pair

    def _buffers(self) -> Iterator[torch.Tensor]:
        for pair in [*self._own, *self._source]:
            yield from pair

    @contextmanager
    def _computing(self) -> Iterator[PreTrainedModel]:
        """The model in which every row is computed as its voice does."""
        names = [row.voice.name for row in self.rows]
        if self._router is None or set(names) == {None}:
            yield self.rows[0].voice.model
            return
        # A voice's own model would put its prefix before every row's mask once more.
        with self._router.computing(names, self._device):
            yield self._router.model

    def _inputs(self, model: PreTrainedModel, ids_B1: torch.Tensor) -> dict[str, Any]:
        B, longest = len(self.rows), self._longest()
        source = max(row.source for row in self.rows)
        inputs: dict[str, Any] = {
            # Its keys and values are held; of itself only the shape is asked.
            "encoder_outputs": BaseModelOutput(
                last_hidden_state=self._own[0][0].new_zeros(1, 1, 1).expand(B, source, self._width)
            ),
            "attention_mask": self._mask([row.source for row in self.rows], source, left=False),
            "decoder_input_ids": ids_B1,
            "decoder_attention_mask": self._mask(
                [own + 1 for own in self._owned()], longest + 1, left=True
            ),
            cache_name(model): EncoderDecoderCache(
                _seen(self._own, B, self._end - longest, longest),
                _seen(self._source, B, 0, source),
            ),
        }
        if _POSITIONS in inspect.signature(model.forward).parameters:
            inputs[_POSITIONS] = torch.tensor(self._owned(), device=self._device)[:, None]
        return inputs

    def _mask(self, lengths: Sequence[int], columns: int, *, left: bool) -> torch.Tensor:
        """Which of so many columns are each row's, (B, C): its last ones, or its first."""
        at = torch.arange(columns, device=self._device)
        count = torch.tensor(lengths, device=self._device)[:, None]
        return ((at >= columns - count) if left else (at < count)).long()


@contextmanager
def positions(model: PreTrainedModel, at: Sequence[int]) -> Iterator[None]:
    """Have a decoder look up position at[i] for row i, where it looks positions up at all."""
    module = getattr(model.get_decoder(), "embed_positions", None)
    if module is None:
        yield
        return
    at_B = torch.tensor(at, device=model.device)

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {**kwargs, "position_ids": at_B}

    def after(_: Any, __: Any, found: torch.Tensor) -> torch.Tensor:
        return found.view(len(at), 1, -1)  # one sequence of B tokens -> B of one

    hooks = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _moved(held: list[Pair], room: int, columns: int, rows: int, start: int) -> list[Pair]:
    """Buffers (R, K, C, D) with what so many rows hold from column `start` on."""
    found = []
    for pair in held:
        keys, values = (x.new_zeros(room, x.shape[1], columns, x.shape[3]) for x in pair)
        for new, old in zip((keys, values), pair, strict=True):
            kept = old[:rows, :, start:][:, :, :columns]
            new[:rows, :, : kept.shape[2]] = kept
        found.append((keys, values))
    return found


def _put(
    buffers: list[Pair], read: list[Pair], row: int, at: int, columns: slice, start: int
) -> None:
    """Keep columns of a row that was read as row `at`, from column `start` on; the rest is zero."""
    for pair, given in zip(buffers, read, strict=True):
        for buffer, new in zip(pair, given, strict=True):
            own = new[row, :, columns]
            buffer[at] = 0  # what stood there may be no numbers, which no mask would hide
            buffer[at, :, start : start + own.shape[1]] = own


def _seen(buffers: list[Pair], rows: int, start: int, length: int) -> Cache:
    """What the rows hold in so many columns from `start` on; a token more goes after them."""
    layers = []
    for keys, values in buffers:
        layer = RoomyLayer()
        layer.hold(keys[:rows, :, start:], values[:rows, :, start:], length)
        layers.append(layer)
    return Cache(layers=layers)
