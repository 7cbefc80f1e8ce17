from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats as scipy_stats

from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.base import Array
from brulee.evaluation.correlation import number, spearman_values
from brulee.evaluation.stats import compare, interval


def score(name: str, x: Array, y: Array) -> float:
    found = metric(name)
    pairs = zip(map(str, x), map(str, y), strict=True)
    stats = np.array([found.statistics(a, [b])[name] for a, b in pairs])
    return interval(found.join(name, stats), partial(found.reduce, name), resamples=10).value


def data(seed: int, count: int, ties: bool) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    y = x + rng.normal(scale=0.7, size=count)
    return (np.round(x), np.round(y)) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [3, 10, 200])
def test_correlations_are_scipys(count: int, ties: bool) -> None:
    x, y = data(count, count, ties)
    if ties and (len(set(x)) == 1 or len(set(y)) == 1):
        pytest.skip("a constant side")
    assert score("pearson", x, y) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, abs=1e-9)
    assert score("spearman", x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-9)


def test_a_constant_side_has_no_correlation() -> None:
    x, y = np.full(5, 0.1), np.arange(5.0)
    assert score("pearson", x, y) == score("spearman", x, y) == score("spearman", y, x) == 0.0


@pytest.mark.parametrize("ties", [False, True])
def test_spearmans_interval_is_that_of_ranking_each_resample_anew(ties: bool) -> None:
    x, y = data(5, 150, ties)
    rng = np.random.default_rng(0)
    anew = []
    for _ in range(2000):
        drawn = rng.integers(150, size=150)
        anew.append(scipy_stats.spearmanr(x[drawn], y[drawn]).statistic)
    reduce = partial(metric("spearman").reduce, "spearman")
    found = interval(spearman_values(x, y)[:, None], reduce, 2000)
    expected = np.quantile(anew, [0.025, 0.975])
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.12)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.03)


def test_two_models_are_compared_by_their_rank_correlation() -> None:
    x, y = data(6, 120, ties=False)
    worse = x + np.random.default_rng(1).normal(scale=2, size=120)
    reduce = partial(metric("spearman").reduce, "spearman")
    found = compare(spearman_values(worse, y)[:, None], spearman_values(x, y)[:, None], reduce)
    assert found.tuned == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    assert found.p < 0.01


@pytest.mark.parametrize(
    ("text", "expected"), [("3.8", 3.8), ("about -2 of 5", -2.0), ("1e-3", 0.001), ("none", -1.0)]
)
def test_the_first_number_of_a_text_counts(text: str, expected: float) -> None:
    assert number(text) == expected


def test_a_reference_without_a_number_is_refused() -> None:
    for name in ("pearson", "spearman"):
        with pytest.raises(InputError, match="needs a number as reference, not 'none'"):
            metric(name).statistics("0.5", ["none"])


@pytest.mark.parametrize(
    ("text", "value"),
    [(".5", 0.5), ("-.25 or so", -0.25), ("fig.3", 3.0), ("3.", 3.0), ("1e2", 100.0)],
)
def test_a_number_may_begin_with_its_point(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_number_that_is_too_large_counts_as_missing(name: str) -> None:
    references = ["0", "0.5", "3"]
    found = metric(name)
    scores = []
    for first in ("1e999", "-1e200", "-1"):
        pairs = zip([first, ".5", "3"], references, strict=True)
        stats = np.array([found.statistics(p, [r])[name] for p, r in pairs])
        scores.append(interval(found.join(name, stats), partial(found.reduce, name)).value)
    assert scores[0] == scores[1] == scores[2] == pytest.approx(0.98, abs=0.03)


@pytest.mark.parametrize("count", [5, 15])
@pytest.mark.parametrize("key", ["pearson", "spearman"])
def test_no_bound_of_a_correlation_is_beyond_one(key: str, count: int) -> None:
    measure = metric(key)
    x = np.random.default_rng(0).normal(size=count)
    y = x + 0.3 * np.random.default_rng(1).normal(size=count)
    pairs = zip(x, y, strict=True)
    stats = np.array([measure.statistics(str(a), [str(b)])[key] for a, b in pairs])
    found = interval(measure.join(key, stats), partial(measure.reduce, key))
    assert -1 <= found.low < found.value <= found.high <= 1
