"""HELM's measures by hand, and calibration against the library that HELM uses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from brulee.evaluation import shares
from brulee.evaluation.base import Array
from brulee.evaluation.stats import interval
from brulee.evaluation.suites.helm import calibration, scoring
from brulee.evaluation.suites.helm.combining import combined
from brulee.evaluation.suites.helm.joining import Joining, worst
from brulee.evaluation.suites.helm.ranking import ndcg, order, reciprocal_rank
from brulee.evaluation.tasks import Example, Judged
from brulee.evaluation.toxicity import LexiconScorer

# Made with uncertainty-calibration 0.1.4 (get_ece_em, get_ece, get_platt_scaler,
# get_selective_stats) on rng = default_rng(7): p = rng.uniform(0.2, 1, n).round(d), right where
# rng.uniform(size=n) < p ** 1.5, for the three (n, d) one after the other.
REFERENCE = [
    (40, 3, 0.14035, 0.0767, 0.12953857, 0.72187433, 0.8),
    (300, 6, 0.13463841, 0.11259683, 0.07706574, 0.75532575, 1.0),
    (53, 2, 0.15566038, 0.03415094, 0.13841376, None, 1.0),  # ties: its area depends on their order
]


def measures(confidence: Any, right: Any) -> dict[str, float]:
    items = calibration.calibration_statistics(confidence, right)
    found = {}
    for key in calibration.KEYS:
        rows = np.array([item[key] for item in items if key in item])
        found[key] = float(calibration.reduce(key, rows.mean(0)))
    return found


def test_calibration_equals_the_reference_library() -> None:
    rng = np.random.default_rng(7)
    for n, decimals, ece10, ece1, platt10, area, top in REFERENCE:
        p = rng.uniform(0.2, 1, n).round(decimals)
        right = (rng.uniform(size=n) < p**1.5).astype(float)
        found = measures(p, right)
        assert found["ece_10_bin"] == pytest.approx(ece10, abs=1e-7)
        assert found["ece_1_bin"] == pytest.approx(ece1, abs=1e-7)
        # Both fit the same curve, the library to a tolerance of its own.
        assert found["platt_ece_10_bin"] == pytest.approx(platt10, abs=2e-5)
        assert found["selective_acc@10"] == top
        if area is not None:
            assert found["selective_area"] == pytest.approx(area, abs=1e-7)


def test_calibration_by_hand() -> None:
    # Ten bins of four items: each its own, |0.9-1|, |0.1-0|, |0.8-1|, |0.2-1|.
    found = measures([0.9, 0.1, 0.8, 0.2], [1, 0, 1, 1])
    assert found["ece_10_bin"] == pytest.approx((0.1 + 0.1 + 0.2 + 0.8) / 4)
    assert found["ece_1_bin"] == pytest.approx(abs(2.0 / 4 - 3 / 4))
    # By confidence: right, right, right, wrong: accuracies 1, 1, 1, 3/4.
    assert found["selective_area"] == pytest.approx(3.75 / 4)
    assert found["selective_acc@10"] == 1.0


def test_equal_confidence_shares_the_area_and_one_bin() -> None:
    found = measures([0.5] * 4, [1, 0, 1, 0])
    assert found["selective_area"] == pytest.approx(0.5)
    assert found["ece_10_bin"] == pytest.approx(0.0)
    assert measures([0.5] * 4, [0, 1, 0, 1])["selective_area"] == pytest.approx(0.5)


def area_of(right: Array, confidence: Array) -> tuple[float, float]:
    items = calibration.calibration_statistics(confidence.tolist(), right.tolist())
    rows = np.array([item["selective_area"] for item in items])
    found = interval(rows, lambda mean_S, _: calibration.reduce("selective_area", mean_S), 400)
    return found.low, found.high


def test_an_area_of_accuracies_is_at_most_one_and_as_uncertain_as_they_are() -> None:
    rng, covered = np.random.default_rng(0), 0
    confidence = rng.random(100_000)
    right = (rng.random(100_000) < 0.7 + 0.3 * confidence).astype(float)
    truth, trials = measures(confidence, right)["selective_area"], 100
    for trial in range(trials):
        some = slice(50 * trial, 50 * trial + 50)
        low, high = area_of(right[some], confidence[some])
        assert 0 <= low <= high <= 1
        assert high - low < 0.35
        covered += low <= truth <= high
    assert covered >= 88
    for count in (1, 4, 20):
        assert area_of(np.ones(count), confidence[:count]) == pytest.approx(shares.wilson(1, count))


def test_a_perfectly_calibrated_model_has_no_error_and_a_boastful_one_its_gap() -> None:
    p = np.repeat([0.25, 0.5, 0.75, 1.0], 4)
    right = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1.0])
    assert measures(p, right)["ece_10_bin"] == pytest.approx(0.0)
    assert measures(np.ones(16), right)["ece_1_bin"] == pytest.approx(1 - right.mean())


def test_ranks_by_hand() -> None:
    # Yes to 1 (surest) and 3, No to 0 (surest) and 2: 1, 3, 2, 0.
    yes = [math.log(p) for p in (0.1, 0.9, 0.4, 0.6)]
    no = [math.log(1 - math.exp(y)) for y in yes]
    assert order(yes, no) == [1, 3, 2, 0]
    assert reciprocal_rank([1, 3, 2, 0], [2]) == pytest.approx(1 / 3)
    assert reciprocal_rank(list(range(20)), [10]) == 0.0
    # Gains 0, 3, 0, 1 in this order against the best order 3, 1.
    expected = (3 / math.log2(3) + 1 / math.log2(5)) / (3 / math.log2(2) + 1 / math.log2(3))
    assert ndcg([0, 1, 2, 3], [0, 3, 0, 1]) == pytest.approx(expected)
    assert ndcg([1, 3, 0, 2], [0, 3, 0, 1]) == 1.0
    assert ndcg([0, 1], [0, 0]) == 0.0


def test_the_worst_case_is_the_highest_where_less_is_better() -> None:
    assert worst([0.2, 0.9, 0.5], higher_is_better=True) == 0.2
    assert worst([0.2, 0.9, 0.5], higher_is_better=False) == 0.9


def test_worst_cases_follow_the_direction_of_the_main_score() -> None:
    def example(id_: str, perturbation: str) -> Example:
        about = {"kind": "answer", "perturbation": perturbation, "right": (0,)}
        return Example(id_, "?", choices=("a",), cluster="1", about=about)

    examples = [example("1", ""), example("1~mild-mix", "mild-mix")]
    judged = [Judged("a", {"loss": [0.2]}), Judged("a", {"loss": [0.7]})]
    for higher, expected in ((True, 0.2), (False, 0.7)):
        joining = Joining(("loss",), ("mild-mix",), LexiconScorer(), higher)
        first, second = joining.join(examples, judged)
        assert first.statistics["robustness"] == [expected]
        assert first.statistics["loss"] == [0.2]
        assert first.statistics["loss[mild-mix]"] == [0.7]
        assert "fairness" not in first.statistics
        assert second.statistics == {}


def test_a_calibrated_option_is_the_one_that_the_question_makes_likelier() -> None:
    about = {"kind": "answer", "perturbation": "", "right": (1,)}
    examples = [Example(f"1#{k}", "?", choices=(" a", " b"), about=about) for k in range(2)]
    # "a" is likelier after the question, but it always is; "b" gains most by it.
    judged = [Judged("a", {"options": [-1.0, -2.0]}), Judged("a", {"options": [-0.5, -4.0]})]
    found = combined(("exact_match",), examples, judged)
    assert found.output == "b"
    assert found.statistics["exact_match"] == [1.0]
    # Gains of -0.5 and 2.
    assert found.statistics["confidence"] == [pytest.approx(1 / (1 + math.exp(-2.5)))]


def test_written_answers_by_helms_rules() -> None:
    assert scoring.exact_match(" Yes\n", ["Yes"]) == 1.0
    assert scoring.exact_match("yes", ["Yes"]) == 0.0
    assert scoring.quasi_exact_match("The yes!", ["Yes", "No"]) == 1.0
    assert scoring.quasi_exact_match("", ["the"]) == 0.0
    # Sets {big, dog} and {big, red, dog}; the repeated word counts once.
    assert scoring.f1("a big big dog", ["the big red dog"]) == pytest.approx(4 / 5)
    assert scoring.f1("", ["x"]) == 0.0
    assert scoring.f1("cat", ["dog", "cat"]) == 1.0
    assert scoring.rouge2("the cat sat", ["the cat sat"]) == 1.0
