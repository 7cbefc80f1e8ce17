from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.classification import MacroF1, Matthews, macro_f1, matthews
from brulee.evaluation.stats import Interval, interval
from brulee.evaluation.suites.label_f1 import LabelF1

PAIRS = [  # reference, prediction
    *[("yes", "yes")] * 6,
    *[("yes", "no")] * 1,
    *[("no", "yes")] * 2,
    *[("no", "no")] * 3,
]


def scored(metric: Metric, pairs: list[tuple[str, str]]) -> float:
    key = metric.keys[0]
    stats = np.array([metric.statistics(given, [truth])[key] for truth, given in pairs])
    return float(metric.reduce(key, stats.mean(0), float(len(stats))))


def confusion(metric: MacroF1, pairs: list[tuple[str, str]]) -> Array:
    count = len(metric.labels)
    rows = [metric.statistics(given, [truth])["macro_f1"] for truth, given in pairs]
    return np.sum(rows, axis=0).reshape(count, count + 1)


def test_binary_scores_by_hand() -> None:
    f1 = (2 * 6 / (2 * 6 + 2 + 1) + 2 * 3 / (2 * 3 + 1 + 2)) / 2
    phi = (6 * 3 - 1 * 2) / math.sqrt(8 * 7 * 5 * 4)
    assert scored(MacroF1(["yes", "no"]), PAIRS) == pytest.approx(f1)
    assert scored(Matthews(["yes", "no"]), PAIRS) == pytest.approx(phi)
    assert matthews(confusion(MacroF1(["yes", "no"]), PAIRS)) == pytest.approx(phi), "of counts"


def test_binary_matthews_is_the_correlation_of_the_codes() -> None:
    truth, given = (np.array([pair[side] == "yes" for pair in PAIRS]) for side in (0, 1))
    expected = np.corrcoef(truth, given)[0, 1]
    assert scored(Matthews(["no", "yes"]), PAIRS) == pytest.approx(expected)


def test_matthews_of_several_labels_follows_gorodkins_definition() -> None:
    rng = np.random.default_rng(0)
    labels = ["a", "b", "c", "d"]
    truth, given = rng.integers(4, size=(2, 60))
    one_hot_x, one_hot_y = np.eye(4)[truth], np.eye(4)[given]
    x, y = one_hot_x - one_hot_x.mean(0), one_hot_y - one_hot_y.mean(0)
    expected = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
    pairs = [(labels[t], labels[g]) for t, g in zip(truth, given, strict=True)]
    assert scored(Matthews(labels), pairs) == pytest.approx(expected)


def test_an_invalid_prediction_costs_recall_and_no_precision() -> None:
    pairs = [("yes", "yes"), ("yes", "maybe"), ("no", "no"), ("no", "no")]
    assert scored(MacroF1(["yes", "no"]), pairs) == pytest.approx((2 / 3 + 1) / 2)
    as_third_label = scored(Matthews(["yes", "no", "maybe"]), pairs)
    assert scored(Matthews(["yes", "no"]), pairs) == pytest.approx(as_third_label)


def test_a_label_nobody_uses_is_left_out_of_the_mean() -> None:
    used, unused = MacroF1(["yes", "no"]), MacroF1(["yes", "no", "unused"])
    assert scored(unused, PAIRS) == pytest.approx(scored(used, PAIRS))


def test_constant_predictions_have_no_correlation() -> None:
    assert scored(Matthews(["yes", "no"]), [("yes", "yes"), ("no", "yes")]) == 0.0
    assert scored(Matthews(["yes", "no"]), [("yes", "yes")]) == 0.0
    assert scored(Matthews(["yes", "no"]), [("yes", "no"), ("no", "yes")]) == pytest.approx(-1.0)


def test_resamples_reduced_together_score_as_one_by_one() -> None:
    tables = np.random.default_rng(1).integers(0, 4, (30, 3, 4)).astype(float)
    for function in (macro_f1, matthews):
        alone = [float(function(table)) for table in tables]
        assert function(tables) == pytest.approx(alone)


def test_nothing_counted_scores_zero() -> None:
    empty = np.zeros((2, 3))
    assert [float(f(empty)) for f in (macro_f1, matthews)] == [0.0, 0.0]


def test_any_of_several_references_may_match() -> None:
    metric = MacroF1(["yes", "no"])
    assert metric.statistics("no", ["yes", "no"])["macro_f1"].tolist() == [0, 0, 0, 0, 1, 0]


def test_a_reference_that_is_no_label_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'yes'"):
        MacroF1(["yes", "no"]).statistics("yes", ["yess"])


@pytest.mark.parametrize("labels", [[], ["yes"], ["yes", "yes "], "yes"])
def test_labels_must_be_several_and_different(labels: list[str]) -> None:
    with pytest.raises(InputError, match="at least two different"):
        Matthews(labels)


def bounds(metric: Metric, pairs: list[tuple[str, str]]) -> Interval:
    key = metric.keys[0]
    stats = np.array([metric.statistics(given, [truth])[key] for truth, given in pairs])
    return interval(stats, partial(metric.reduce, key), 200)


def test_rounding_of_mean_counts_gives_a_constant_side_no_correlation() -> None:
    metric = Matthews(list("abcd"))
    said = [*"a" * 16, *"b" * 11, *"c" * 6, *"d" * 7]
    for items in range(2, 41):
        for given in (said[:items], said[-items:]):
            assert scored(metric, [("a", one) for one in given]) == 0.0
            assert scored(metric, [(one, "a") for one in given]) == 0.0


def test_a_model_that_always_says_yes_is_not_proved_to_have_no_correlation() -> None:
    few, many = (
        bounds(Matthews(["yes", "no"]), [("yes", "yes"), ("no", "yes")] * half)
        for half in (10, 100)
    )
    assert few.value == many.value == 0.0
    assert few.low < -0.3 < 0.3 < few.high
    assert few.low < many.low < 0 < many.high < few.high


def test_f1_without_any_hit_rests_on_what_was_wanted_or_said() -> None:
    metric, wanted, neither = LabelF1("yes", "no"), ("yes", "no"), ("no", "no")
    assert bounds(metric, [neither] * 30)[:3] == (0.0, 0.0, 1.0)
    assert bounds(metric, [wanted] * 5 + [neither] * 30)[:3] == bounds(metric, [wanted] * 5)[:3]
    assert bounds(metric, [wanted] * 40).high < 0.1
