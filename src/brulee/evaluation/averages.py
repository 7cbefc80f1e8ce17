"""The interval of an average of scores that were measured on different items.

Shape legend: `K` parts of the average, `B` resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from brulee.evaluation import shares
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import FEW, UNLIMITED, t_quantile


class Part(NamedTuple):
    """A score, its bounds, its resamples (B,), its number of units, whether it is a share.

    `limits` are the least and the largest score that is possible.
    """

    value: float
    low: float
    high: float
    resampled: Array
    units: int
    share: bool
    limits: tuple[float, float] = UNLIMITED


def average(parts: Sequence[Part], weights: Sequence[float] | None = None) -> tuple[float, float]:
    """95% bounds of the weighted mean of independent scores; equal weights by default.

    Their variances add up, as in a stratified sample (Cochran 1977, "Sampling Techniques", chapter
    5), each times n / (n - 1), because resampling underestimates them: by a quarter for four
    questions per subject. A score on a single unit has no variance: several such scores use the
    variance between them, which is conservative (Cochran's collapsed strata); one such score uses
    the others' mean variance per unit. The degrees of freedom are Satterthwaite's (1946). Shares
    get Wilson's interval for the number of items with the same variance. Of other scores, each on
    at least eight units, the bounds combine the parts' own (Zou and Donner 2008, "Construction of
    confidence limits about effect measures: a general approach"), which know more than a variance:
    how skewed a score is, and what no item showed. Otherwise the bounds are at most as wide as
    under perfectly correlated errors, or, with a score on a single unit, within what is possible.
    """
    if len(parts) == 1:
        return parts[0].low, parts[0].high
    weights_K = _shares_of(weights or [1.0] * len(parts))
    found = _weighted(parts, weights_K)
    value, variance, reach = found.value, found.variance, found.reach
    if all(part.share for part in parts):
        return shares.wilson(value, found.worth(value * (1 - value)))
    low, high = value - reach * variance**0.5, value + reach * variance**0.5
    if variance == 0 or min(part.units for part in parts) >= FEW:
        away_K2 = np.array([(part.value - part.low, part.high - part.value) for part in parts])
        below, above = np.sqrt(((weights_K[:, None] * away_K2) ** 2).sum(0))
        return value - float(below), value + float(above)
    if min(part.units for part in parts) > 1:
        low = max(low, float(weights_K @ [part.low for part in parts]))
        high = min(high, float(weights_K @ [part.high for part in parts]))
        return low, high
    least, most = weights_K @ np.array([part.limits for part in parts])
    return max(low, float(least)), min(high, float(most))


def average_change(parts: Sequence[Part], gained: float, lost: float) -> tuple[float, float]:
    """95% bounds of the unweighted mean of paired changes of shares.

    `gained` and `lost` are the means over parts of the shares of items that became right and wrong.
    The bounds are Tango's for the number of items with the same variance. They thus allow for a
    loss that no item of any part showed, as for a single part, whether or not another item gained.
    """
    if len(parts) == 1:
        return parts[0].low, parts[0].high
    found = _weighted(parts, _shares_of([1.0] * len(parts)))
    items = found.worth(gained + lost - (gained - lost) ** 2)
    return shares.paired(gained * items, lost * items, items)


class _Weighted(NamedTuple):
    """A weighted mean, its variance, its interval's half-width in standard errors, its items."""

    value: float
    variance: float
    reach: float
    items: float  # the effective number of items if no part varies

    def worth(self, of_one: float) -> float:
        """The number of items whose mean has this variance, if one item has variance `of_one`."""
        if self.variance <= 0 or of_one <= 0:
            return self.items
        return of_one / self.variance * (shares.normal(0.95) / self.reach) ** 2


def _weighted(parts: Sequence[Part], weights_K: Array) -> _Weighted:
    values_K = np.array([part.value for part in parts])
    units_K = np.array([part.units for part in parts])
    variances_K = weights_K**2 * _variances(parts, values_K, units_K)
    return _Weighted(
        float(weights_K @ values_K),
        float(variances_K.sum()),
        t_quantile(_freedom(variances_K, units_K) + 1, 0.95),
        1 / float((weights_K**2 / units_K).sum()),
    )


def _shares_of(weights: Sequence[float]) -> Array:
    found = np.array(weights, dtype=np.float64)
    scaled: Array = found / found.sum()
    return scaled


def _variances(parts: Sequence[Part], values_K: Array, units_K: Array) -> Array:
    """The unbiased variance of every score: (K,)."""
    drawn_K = np.array([float(np.var(part.resampled)) for part in parts])
    several_K = units_K > 1
    found = np.where(several_K, drawn_K * units_K / np.maximum(units_K - 1, 1), 0.0)
    alone = int((~several_K).sum())
    if alone > 1:
        found[~several_K] = values_K[~several_K].var(ddof=1)
    elif alone:
        found[~several_K] = (found * units_K)[several_K].mean()
    return np.asarray(found)


def _freedom(variances_K: Array, units_K: Array) -> float:
    """Satterthwaite's degrees of freedom; scores on a single unit are counted together."""
    several_K = units_K > 1
    squares = float((variances_K[several_K] ** 2 / (units_K[several_K] - 1)).sum())
    if (alone := int((~several_K).sum())) > 1:
        squares += float(variances_K[~several_K].sum()) ** 2 / (alone - 1)
    total = float(variances_K.sum()) ** 2
    return total / squares if squares > 0 else float(max(1, int((units_K - 1).sum())))
