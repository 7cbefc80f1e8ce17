"""Prefix cache: keys and values of texts that were read, for later texts with the same beginning.

    voice "notes"     "You are ... agent."    " Where is my"    " parcel?"
                       block -- block -- block -+- block ------- block
                                                '- block            another chat

A text is divided into blocks of equal length; a block's parent is the block before it, so that its
path stands for all tokens from the beginning of the text. Cached values equal those of a new pass,
bitwise where passes do not depend on how a text is divided (same_bits.py). Every voice has its own
tree. Blocks lie in a pool of fixed size; when it is full, the least recently used block is evicted,
which is always a leaf, since its ancestors are used whenever it is.

Shapes: `N` blocks of the pool, `K` key heads, `B` tokens of a block, `S` positions, `D` head width.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from brulee.inference.on_device import on_device
from brulee.inference.reading import Pair
from brulee.inference.row import Voice

BLOCK: Final = 16


@dataclass(eq=False)
class _Block:
    """A block, its place in the pool (-1 for the root), its parent and its children."""

    place: int
    before: _Block | None
    ids: tuple[int, ...]
    after: dict[tuple[int, ...], _Block] = field(default_factory=dict)


@dataclass(frozen=True)
class Beginning:
    """The cached first `tokens` of a text; `put` must precede any other change of the cache."""

    pool: Mapping[int, Pair] = field(default_factory=dict)
    places: Sequence[int] = ()

    @property
    def tokens(self) -> int:
        """Number of cached tokens."""
        return len(self.places) * BLOCK

    def put(self, layer: int, stack: Pair, bottom: int) -> None:
        """Copy them into a layer's stack (1, K, S, D), from position `bottom` on."""
        if not self.places:
            return
        for held, pool in zip(stack, self.pool[layer], strict=True):
            found = pool[self._at]
            held[0, :, bottom : bottom + self.tokens] = found.transpose(0, 1).flatten(1, 2)

    @functools.cached_property
    def _at(self) -> torch.Tensor:
        """The places, once for all layers."""
        return on_device(self.places, next(iter(self.pool.values()))[0].device)


class Kept:
    """A cache of at most `most_bytes` of keys and values, none for 0; not thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._bytes = most_bytes
        self._pool: dict[int, Pair] = {}  # by layer, (N, K, B, D)
        self._free: list[int] = []
        self._texts: dict[Voice, _Block] = {}
        self._used: OrderedDict[_Block, None] = OrderedDict()  # least recently used first

    @property
    def tokens(self) -> int:
        """Number of cached tokens."""
        return len(self._used) * BLOCK

    def find(self, voice: Voice, ids: Sequence[int]) -> Beginning:
        """The longest cached prefix of a text for a voice, in whole blocks."""
        path = self._path(voice, ids)
        self._use(path)
        return Beginning(self._pool, [block.place for block in path])

    def keep(self, voice: Voice, ids: Sequence[int], stacks: Mapping[int, Pair], at: int) -> None:
        """Cache a text that a voice has read; its keys and values are in stacks from `at` on."""
        if self._bytes == 0 or len(ids) < BLOCK:
            return
        if not self._pool:
            self._make_pool(stacks)
        path = self._path(voice, ids)
        self._use(path)
        first, wanted = len(path), len(ids) // BLOCK - len(path)
        places = self._places(wanted, set(path))
        if not places:
            return
        before = path[-1] if path else self._texts.setdefault(voice, _Block(-1, None, ()))
        for number, place in enumerate(places, start=first):
            own = tuple(ids[number * BLOCK : (number + 1) * BLOCK])
            block = before.after[own] = _Block(place, before, own)
            path.append(block)
            before = block
        self._use(path)
        self._write(places, stacks, at + first * BLOCK)

    def only(self, voices: Collection[Voice]) -> None:
        """Drop the texts of all other voices."""
        for voice in self._texts.keys() - set(voices):
            self._forget(self._texts.pop(voice))

    def _path(self, voice: Voice, ids: Sequence[int]) -> list[_Block]:
        block, path = self._texts.get(voice), list[_Block]()
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            block = block and block.after.get(tuple(ids[start : start + BLOCK]))
            if block is None:
                break
            path.append(block)
        return path

    def _use(self, path: Sequence[_Block]) -> None:
        """Mark a path as used, last block first, so that children are evicted before parents."""
        for block in reversed(path):
            self._used[block] = None
            self._used.move_to_end(block)

    def _places(self, wanted: int, path: Collection[_Block]) -> list[int]:
        """At most `wanted` places; blocks of other texts, never of `path`, are evicted for them."""
        places: list[int] = []
        while len(places) < wanted:
            if not self._free:
                oldest = next(iter(self._used), None)
                if oldest is None or oldest in path:
                    break
                self._let_go(oldest)
            places.append(self._free.pop())
        return places

    def _let_go(self, block: _Block) -> None:
        assert block.before is not None, "the beginning of all texts is not in use"
        assert not block.after, "what hangs on a block is unused for longer"
        del block.before.after[block.ids], self._used[block]
        self._free.append(block.place)

    def _forget(self, root: _Block) -> None:
        under = list(root.after.values())
        while under:
            block = under.pop()
            under += block.after.values()
            del self._used[block]
            self._free.append(block.place)

    def _make_pool(self, stacks: Mapping[int, Pair]) -> None:
        shapes = {layer: [(x.shape[1], x.shape[3]) for x in pair] for layer, pair in stacks.items()}
        like = next(iter(stacks.values()))[0]
        numbers = sum(K * D for pair in shapes.values() for K, D in pair) * BLOCK
        count = self._bytes // (numbers * like.element_size())
        for layer, pair in shapes.items():
            keys, values = (like.new_empty(count, K, BLOCK, D) for K, D in pair)
            self._pool[layer] = (keys, values)
        self._free = list(range(count))[::-1]

    def _write(self, places: Sequence[int], stacks: Mapping[int, Pair], bottom: int) -> None:
        at = on_device(places, next(iter(self._pool.values()))[0].device)
        for layer, pair in stacks.items():
            for stack, pool in zip(pair, self._pool[layer], strict=True):
                K, _, D = stack.shape[1:]
                own = stack[0, :, bottom : bottom + len(places) * BLOCK]
                pool[at] = own.reshape(K, len(places), BLOCK, D).transpose(0, 1)
