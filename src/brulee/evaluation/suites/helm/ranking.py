"""Ranking of passages, and its quality.

Shape legend: `K` passages of one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brulee.evaluation.base import Array

CUT = 10


def order(yes: Sequence[float], no: Sequence[float]) -> list[int]:
    """Passages from best to worst, given the log-probabilities of Yes and No for each.

    HELM's rule: first those answered Yes, the most confident first, then those answered No, the
    most confident last. Ties keep their order.
    """
    keys = [(1, y) if y >= n else (0, -n) for y, n in zip(yes, no, strict=True)]
    return sorted(range(len(keys)), key=lambda k: keys[k], reverse=True)


def reciprocal_rank(ranked: Sequence[int], right: Sequence[int]) -> float:
    """1 / the rank of the first relevant passage; 0 if none is among the first `CUT`."""
    for rank, passage in enumerate(ranked[:CUT], start=1):
        if passage in right:
            return 1 / rank
    return 0.0


def ndcg(ranked: Sequence[int], relevance_K: Sequence[int]) -> float:
    """Discounted cumulative gain over that of the ideal order (trec_eval's ndcg_cut).

    The gain of a passage is its relevance, discounted by log2(rank + 1).
    """
    relevance = np.asarray(relevance_K, dtype=np.float64)
    best = _dcg(np.sort(relevance)[::-1][:CUT])
    return _dcg(relevance[list(ranked[:CUT])]) / best if best > 0 else 0.0


def _dcg(gains_K: Array) -> float:
    return float((gains_K / np.log2(np.arange(len(gains_K)) + 2)).sum())
