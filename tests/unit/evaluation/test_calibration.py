from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.base import Array
from brulee.evaluation.calibration import (
    calibration_error,
    edges_of_equal_mass,
    edges_of_equal_width,
    gaps,
)
from brulee.evaluation.stats import compare, interval


def by_hand(confidence: Array, right: Array, edges: Array) -> float:
    """The textbook sum: share of items times the distance of two means, bin by bin."""
    total, lower = 0.0, -1.0
    for upper in edges:
        inside = (confidence > lower) & (confidence <= upper)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        lower = upper
    return total


def ece(confidence: Array, right: Array, edges: Array | None = None) -> float:
    edges = edges_of_equal_mass(confidence) if edges is None else edges
    return float(calibration_error(gaps(confidence, right, edges).mean(0)))


@pytest.mark.parametrize("count", [1, 7, 300])
def test_errors_are_those_of_the_textbook_sum(count: int) -> None:
    rng = np.random.default_rng(count)
    confidence = rng.random(count)
    right = (rng.random(count) < confidence**2).astype(float)
    for edges in (edges_of_equal_mass(confidence), edges_of_equal_width(15)):
        assert ece(confidence, right, edges) == pytest.approx(by_hand(confidence, right, edges))


def test_bins_of_equal_mass_hold_as_many_items_each() -> None:
    confidence = np.random.default_rng(1).random(100) ** 4
    bins = np.searchsorted(edges_of_equal_mass(confidence), confidence)
    assert np.bincount(bins).tolist() == [10] * 10


def test_bins_of_equal_width_end_at_one() -> None:
    assert edges_of_equal_width(4).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_equal_values_share_a_bin() -> None:
    assert edges_of_equal_mass(np.full(50, 0.3)).tolist() == [0.3, 1.0]
    assert edges_of_equal_mass(np.array([0.2, 0.8])).tolist() == [0.5, 1.0]


def test_always_half_sure_and_half_right_is_calibrated_whatever_the_bins() -> None:
    assert ece(np.full(40, 0.5), np.tile([0.0, 1.0], 20)) == 0.0
    assert ece(np.full(40, 0.9), np.tile([0.0, 1.0], 20)) == pytest.approx(0.4)


def test_metrics_score_probabilities_with_intervals() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.random(200)
    right = (rng.random(200) < confidence).astype(int)
    for name in ("ece", "ece_equal_width", "brier"):
        found = metric(name)
        pairs = zip(map(str, confidence), map(str, right), strict=True)
        stats = np.array([found.statistics(p, [r])[name] for p, r in pairs])
        scored = interval(found.join(name, stats), partial(found.reduce, name))
        assert scored.low <= scored.value <= scored.high or name != "brier"
        if name == "brier":
            assert scored.value == pytest.approx(np.mean((confidence - right) ** 2))
        if name == "ece":
            assert scored.value == pytest.approx(ece(confidence, right))
        if name == "ece_equal_width":
            edges = edges_of_equal_width()
            assert scored.value == pytest.approx(ece(confidence, right, edges))
        assert not found.higher_is_better(name)
        assert found.item(name, stats[0]) >= 0


def test_two_models_with_other_edges_can_be_compared() -> None:
    found = metric("ece")
    sure, honest = np.tile([1.0, 0.0], (40, 1)), np.tile([0.5, 0.0], (40, 1))
    honest[::2, 1] = 1.0
    sure[::2, 1] = 1.0
    reduce = partial(found.reduce, "ece")
    pair = compare(found.join("ece", sure), found.join("ece", honest), reduce)
    assert (pair.base, pair.tuned) == (pytest.approx(0.5), pytest.approx(0.0))


@pytest.mark.parametrize(
    ("prediction", "reference"), [("1.2", "1"), ("yes", "1"), ("0.5", "maybe")]
)
def test_what_is_no_probability_is_refused(prediction: str, reference: str) -> None:
    with pytest.raises(InputError, match="a calibration score needs"):
        metric("brier").statistics(prediction, [reference])


@pytest.mark.parametrize("key", ["ece", "ece_equal_width"])
def test_a_calibrated_model_is_not_proved_to_err(key: str) -> None:
    """Resampling alone gave bounds above the error that chance had made of nothing."""
    found, rng = metric(key), np.random.default_rng(3)
    said = rng.beta(3, 2, 50)
    chance = rng.random(50)
    well, badly = (
        interval(found.join(key, np.stack([said, right], axis=1)), partial(found.reduce, key))
        for right in (chance < said, chance < said - 0.4)
    )
    assert well.low == 0.0 < well.value < well.high < 0.3
    assert 0.2 < badly.low < badly.value < badly.high < 0.6
