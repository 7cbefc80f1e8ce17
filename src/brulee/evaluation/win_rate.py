"""Comparison of several models over many scores: mean win rates (HELM's headline number).

On one score, a model's win rate is the share of the other models that it beats, with ties counting
half; its mean win rate is the mean over scores. It depends on the set of models, and not on the
size of their differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Column:
    """One score of every model that has it."""

    values: Mapping[str, float]
    higher_is_better: bool = True


def win_rates(column: Column) -> dict[str, float]:
    """Each model's win rate on one score; empty if fewer than two models have it."""
    if len(column.values) < 2:
        return {}
    sign = 1 if column.higher_is_better else -1
    rates = {}
    for model, value in column.values.items():
        others = [sign * v for name, v in column.values.items() if name != model]
        wins = sum((sign * value > other) + (sign * value == other) / 2 for other in others)
        rates[model] = wins / len(others)
    return rates


def mean_win_rates(columns: Sequence[Column]) -> dict[str, float]:
    """Each model's mean win rate over the scores on which it can be compared."""
    rates: dict[str, list[float]] = {}
    for column in columns:
        for model, rate in win_rates(column).items():
            rates.setdefault(model, []).append(rate)
    return {model: float(np.mean(found)) for model, found in rates.items()}
