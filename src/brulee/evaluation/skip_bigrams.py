"""Pairs of words in their order, with other words between them (Lin 2004, section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

Pairs: TypeAlias = Counter[tuple[str, ...]]


def skip_bigrams(tokens: Sequence[str], gap: int) -> Pairs:
    """Every pair of tokens with at most `gap` others between them; no limit if `gap` is negative.

    A limit of 0 gives bigrams. Pairs run over the whole sequence: their number grows with its
    square where there is no limit.
    """
    found: Pairs = Counter()
    reach = len(tokens) if gap < 0 else gap + 1
    for i, token in enumerate(tokens):
        found.update((token, other) for other in tokens[i + 1 : i + 1 + reach])
    return found


def with_unigrams(pairs: Pairs, tokens: Sequence[str]) -> Pairs:
    """Pairs together with single tokens, the units of ROUGE-SU."""
    return pairs + Counter((token,) for token in tokens)
