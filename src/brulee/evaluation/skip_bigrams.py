"""Skip-bigrams: ordered pairs of words with a limited gap between them (Lin 2004, section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

Pairs: TypeAlias = Counter[tuple[str, ...]]


def skip_bigrams(tokens: Sequence[str], gap: int) -> Pairs:
    """Every pair of tokens with at most `gap` others between them; no limit if `gap` is negative.

    A limit of 0 gives bigrams. Without a limit, the number of pairs is quadratic in the length of
    the sequence.
    """
    found: Pairs = Counter()
    reach = len(tokens) if gap < 0 else gap + 1
    for i, token in enumerate(tokens):
        found.update((token, other) for other in tokens[i + 1 : i + 1 + reach])
    return found


def with_unigrams(pairs: Pairs, tokens: Sequence[str]) -> Pairs:
    """The pairs plus all single tokens: the units of ROUGE-SU."""
    return pairs + Counter((token,) for token in tokens)
