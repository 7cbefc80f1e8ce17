"""The order test: whether a model prefers rows in the order of their file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final

import numpy as np
from scipy.stats import ttest_1samp

from brulee.data.encoding import Encoder
from brulee.data.words import words
from brulee.evaluation.base import Array
from brulee.evaluation.plain_text import PlainReader
from brulee.inference.engine import Engine
from brulee.progress import bar

_LEAST_SHARD_ROWS: Final = 4
_MOST_SHARDS: Final = 20
_SHUFFLES: Final = 499


@dataclass(frozen=True)
class OrderTest:
    """Whether rows are more likely to the model in the order of their file than shuffled.

    `difference` is the mean log-probability (nats per shard) gained by the file's order, `p` its
    one-sided p over shards. `neighbours_p` is the p of a permutation test without a model: whether
    adjacent rows share more words than others. If it is small, the rows are sorted or grouped, and
    `p` says nothing about memorisation.
    """

    difference: float
    p: float
    neighbours_p: float
    shards: int
    rows: int
    permutations: int


def order_test(
    engine: Engine,
    encoder: Encoder,
    rows: Sequence[str],
    permutations: int = 8,
) -> OrderTest | None:
    """The sharded likelihood comparison of Oren et al. 2023, arXiv:2310.17623.

    A shard is as many consecutive rows as fit into 512 tokens; a row longer than a quarter of that
    is truncated. The statistic of a shard is its log-probability in the file's order minus the mean
    over random permutations of it; p is that of a one-sided t-test over shards. Rows are tokenised
    separately, so that every order has the same tokens. Returns None if there are fewer than two
    shards of at least four rows. Raises InputError for an encoder-decoder.
    """
    reader = PlainReader(engine, encoder)
    ids = [reader.tokens(row + "\n\n")[: reader.room // _LEAST_SHARD_ROWS] for row in rows]
    parts = _shards([len(row) for row in ids], reader.room)
    if len(parts) < 2:
        return None
    chance = Random(0)
    orders = [
        [list(part), *(chance.sample(part, len(part)) for _ in range(permutations))]
        for part in parts
    ]

    def likelihood(order: Sequence[int]) -> float:
        document = reader.document([token for i in order for token in ids[i]])
        # One at a time, because requests that share a prompt (here one token) form one batch.
        found = engine.loglikelihood([document])[0].log_probability
        progress.advance()
        return found

    with bar("Order of the rows", total=len(parts) * (permutations + 1), unit="orders") as progress:
        gained = _gains(orders, likelihood)
    bags = [frozenset(words(rows[i])) for part in parts for i in part]
    return OrderTest(
        float(gained.mean()), _p_above_zero(gained), _neighbours_p(bags, chance), len(parts),
        sum(map(len, parts)), permutations,
    )  # fmt: skip


def _gains(
    orders: Sequence[Sequence[Sequence[int]]], value: Callable[[Sequence[int]], float]
) -> Array:
    """The value of each shard's first order minus the mean over the other orders."""
    valued = [np.array([value(order) for order in of_shard]) for of_shard in orders]
    return np.array([v[0] - v[1:].mean() for v in valued])


def _p_above_zero(values: Array) -> float:
    if np.ptp(values) == 0:
        return 0.0 if values[0] > 0 else 1.0
    return float(ttest_1samp(values, 0.0, alternative="greater").pvalue)


def _neighbours_p(bags: Sequence[frozenset[str]], chance: Random) -> float:
    """The share of shufflings in which neighbours have as much in common as in the file."""
    given = _likeness(bags)
    shuffled = (_likeness(chance.sample(bags, len(bags))) for _ in range(_SHUFFLES))
    return (1 + sum(value >= given for value in shuffled)) / (1 + _SHUFFLES)


def _likeness(bags: Sequence[frozenset[str]]) -> float:
    """The sum over adjacent rows of the Jaccard similarity of their words."""
    return sum(len(a & b) / max(1, len(a | b)) for a, b in pairwise(bags))


def _shards(sizes: Sequence[int], room: int) -> list[list[int]]:
    """At most `most` shards of four or more consecutive rows that fit into `room` tokens."""
    rows = max(_LEAST_SHARD_ROWS, math.ceil(len(sizes) / _MOST_SHARDS))
    parts: list[list[int]] = [[]]
    filled = 0
    for i, size in enumerate(sizes):
        if len(parts[-1]) == rows or filled + size > room:
            parts.append([])
            filled = 0
        parts[-1].append(i)
        filled += size
    return [part for part in parts if len(part) >= _LEAST_SHARD_ROWS][:_MOST_SHARDS]
