"""The smallest true difference that a paired test of a given size usually finds.

Usually is in 80 % of cases, of a two-sided test at 5 %. Shape legend: `D` numbers of items that may
differ between the sides.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np

from brulee.evaluation.base import Array

_LEVEL: Final = 0.05
_POWER: Final = 0.8
_EXACT: Final = 1e-4  # relative; true differences of many items that rarely differ are minute
_REACH: Final = 8.0  # standard deviations of the number of differing items that are summed over


def of_mean(error: float, units: float) -> float:
    """For a score whose difference over so many `units` has this standard error.

    The quantiles of t for level and power, added, in standard errors: 2.80 for many units, 3.15 for
    ten (Bloom 1995, "Minimum Detectable Effects", Evaluation Review 19(5)).
    """
    from scipy.special import stdtrit

    freedom = max(1.0, units - 1)
    return float(stdtrit(freedom, 1 - _LEVEL / 2) + stdtrit(freedom, _POWER)) * error


@functools.lru_cache(maxsize=4096)
def of_share(gained: int, lost: int, items: int) -> float:
    """For a share of correct items, found by McNemar's exact test, of which some differ.

    As many items differ as in the observed test with one gained and one lost item added (Bonett and
    Price 2012): that none differed does not prove that none would. Of these, gains and losses are
    apart by the true difference (Connor 1987, "Sample size for testing differences in proportions
    for the paired-sample design", Biometrics 43(1)); if that is larger, all of them are gains.
    """
    from scipy.optimize import brentq

    differing = (gained + lost + 2) / (items + 2)

    def short(difference: float) -> float:
        return power(difference, differing, items) - _POWER

    if short(1.0) < 0:  # fewer than six items
        return 1.0
    return float(brentq(short, 0.0, 1.0, xtol=_EXACT / items, rtol=_EXACT))


def power(difference: float, differing: float, items: int) -> float:
    """How often McNemar's exact test finds a true `difference` between two shares of `items`.

    `differing` is the true share of items that are right on one side only, at least the difference.
    """
    from scipy.special import gammaln, xlogy

    share = min(1.0, max(differing, difference))
    up = (1 + difference / share) / 2
    spread = _REACH * math.sqrt(items * share * (1 - share)) + 1
    least, most = math.floor(items * share - spread), math.ceil(items * share + spread)
    counts_D = np.arange(max(0, least), min(items, most) + 1, dtype=np.float64)
    ways_D = gammaln(items + 1) - gammaln(counts_D + 1) - gammaln(items - counts_D + 1)
    of_counts_D = np.exp(ways_D + xlogy(counts_D, share) + xlogy(items - counts_D, 1 - share))
    return float(of_counts_D @ _at_least(_needed(counts_D), counts_D, up))


def _needed(counts_D: Array) -> Array:
    """How many of so many differing items must be gains for a p below 5 %; too many if none do."""
    # The normal distribution without its correction for continuity, less two: never too many.
    start_D = np.floor(counts_D / 2 + 0.98 * np.sqrt(counts_D)) - 2
    needed_D: Array = np.maximum(np.ceil(counts_D / 2), start_D)
    while (more := 2 * _at_least(needed_D, counts_D, 0.5) >= _LEVEL).any():
        needed_D = needed_D + more
    return needed_D


def _at_least(gained_D: Array, counts_D: Array, share: float) -> Array:
    """How often at least so many of the counts are gains, each with this probability."""
    from scipy.special import betainc

    inside_D = np.clip(gained_D, 1, np.maximum(counts_D, 1))
    rest_D = np.maximum(counts_D - inside_D + 1, 0.5)
    found_D = np.asarray(betainc(inside_D, rest_D, share), dtype=np.float64)
    found_D[gained_D > counts_D] = 0.0
    found_D[gained_D < 1] = 1.0
    return found_D
