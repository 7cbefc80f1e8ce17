"""Rows of an encoder-decoder that share passes, though they began at different tokens.

    self-attention cache      columns: a row's last one is the pass's last one
    row 0    | s a a a a a a |
    row 1    | - - - s b b b |         s: the decoder's start token
    cross-attention cache     columns: from the first one on
    row 0    | p p p p p - - |
    row 1    | q q q q q q q |

All rows end in the same column, so relative positions equal distances of columns; a model with
position embeddings is given each row's positions (`positions`). Columns before or after a row's own
hold zeros and are masked.

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
from brulee.inference.on_device import on_device
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.reading import Pair
from brulee.inference.routing import Router
from brulee.inference.row import Voice, closed_up
from brulee.models.cache_names import cache_name
from brulee.models.turns import turn

_POSITIONS = "decoder_position_ids"


@dataclass(frozen=True)
class PairRow:
    """A row's voice, the length of its prompt, and its decoder positions including a prefix."""

    voice: Voice
    source: int
    own: int


class PairRows:
    """At most `most` rows; `router` is needed for several voices.

    Without a router, all rows are of one voice, whose decoder has no trained prefix.
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
        """Number of tokens there is room for, of prompts and completions."""
        return self._room * (self._own_room + self._source_room)

    def needed(self, joining: Sequence[tuple[int, int]]) -> int:
        """Tokens needed once rows of these (prompt, most new) sizes have joined.

        Room reserved for future rows is used for them.
        """
        if not joining:
            return self.tokens
        source = max(self._source_room, *(prompt for prompt, _ in joining))
        own = max(self._own_room, *(most for _, most in joining))
        return (len(self.rows) + len(joining)) * (source + own)

    def join(
        self, read: PaddedDecoder, voice: Voice, joining: Sequence[tuple[int, int]], tokens: int = 0
    ) -> None:
        """Make prompts that `read` has read the last rows; `joining` has (prompt, most new) sizes.

        Room for further rows is reserved, as far as `tokens` allows.
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
        """Append a token to every row; returns logits (B, V) after it."""
        self._make_column()
        ids_B1 = on_device(tokens, self._device)
        with self._computing() as model, turn(model), positions(model, self._owned()):
            output = model(**self._inputs(model, ids_B1), use_cache=True)
        self._end += 1
        self.rows = [replace(row, own=row.own + 1) for row in self.rows]
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def cut(self, counts: Sequence[int]) -> None:
        """Assert that nothing is cut, since rows take one token at a time."""
        assert not any(counts), "a row is given one token at a time"

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place.

        Without rows, all memory is freed.
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
        at = on_device(parents, self._device)
        self._own = [(keys[at], values[at]) for keys, values in self._own]
        self._source = [(keys[at], values[at]) for keys, values in self._source]
        self.rows, self._room = [self.rows[parent] for parent in parents], len(parents)

    def _sizes(self, joining: Sequence[tuple[int, int]], tokens: int) -> tuple[int, int, int]:
        """Numbers of rows, own positions and prompt positions to reserve."""
        count = len(self.rows) + len(joining)
        source = max(self._source_room, *(prompt for prompt, _ in joining))
        own = max(self._own_room, *(most for _, most in joining))
        # Doubled, so that not every joining row causes a copy of all others.
        wanted = self._room if count <= self._room else min(2 * len(self.rows), self._most)
        return max(count, min(wanted, tokens // (source + own))), own, source

    def _reserve(self, sizes: tuple[int, int, int], own: list[Pair], source: list[Pair]) -> None:
        """Resize the buffers, or make them like those of joining rows."""
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
        """Move rows to the right if a joining row has more columns than they do."""
        if self._end >= begun:
            return
        for buffer in self._own_buffers():
            held = buffer[: len(self.rows), :, : self._end].clone()
            buffer[: len(self.rows), :, :begun] = 0
            buffer[: len(self.rows), :, begun - self._end : begun] = held
        self._end = begun

    def _make_column(self) -> None:
        """Make room for one more column, by dropping those before the longest row's first."""
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
        """The model that computes every row with its voice."""
        names = [row.voice.name for row in self.rows]
        if self._router is None or set(names) == {None}:
            yield self.rows[0].voice.model
            return
        # A voice's own model would add its prefix to every row's mask a second time.
        with self._router.computing(names, self._device):
            yield self._router.model

    def _inputs(self, model: PreTrainedModel, ids_B1: torch.Tensor) -> dict[str, Any]:
        B, longest = len(self.rows), self._longest()
        source = max(row.source for row in self.rows)
        inputs: dict[str, Any] = {
            # Its keys and values are cached; only its shape is used.
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
            inputs[_POSITIONS] = on_device(self._owned(), self._device)[:, None]
        return inputs

    def _mask(self, lengths: Sequence[int], columns: int, *, left: bool) -> torch.Tensor:
        """Mask (B, C) of each row's columns: its last ones with `left` padding, else its first."""
        at = torch.arange(columns, device=self._device)
        count = on_device(lengths, self._device)[:, None]
        return ((at >= columns - count) if left else (at < count)).long()


@contextmanager
def positions(model: PreTrainedModel, at: Sequence[int]) -> Iterator[None]:
    """Make a decoder with position embeddings use position at[i] for row i."""
    module = getattr(model.get_decoder(), "embed_positions", None)
    if module is None:
        yield
        return
    at_B = on_device(at, model.device)

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
    """New buffers (R, K, C, D) with the contents of `rows` rows from column `start` on."""
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
    """Store columns of row `row` as row `at`, from column `start` on; the rest is zero."""
    for pair, given in zip(buffers, read, strict=True):
        for buffer, new in zip(pair, given, strict=True):
            own = new[row, :, columns]
            buffer[at] = 0  # old contents may be NaN, which no mask hides
            buffer[at, :, start : start + own.shape[1]] = own


def _seen(buffers: list[Pair], rows: int, start: int, length: int) -> Cache:
    """A cache of `length` columns from `start` on, with room for one more token."""
    layers = []
    for keys, values in buffers:
        layer = RoomyLayer()
        layer.hold(keys[:rows, :, start:], values[:rows, :, start:], length)
        layers.append(layer)
    return Cache(layers=layers)
