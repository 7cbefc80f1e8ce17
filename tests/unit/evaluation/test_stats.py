from __future__ import annotations

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from brulee.evaluation import metric, resampling, shares
from brulee.evaluation.base import Array
from brulee.evaluation.classification import MacroF1, Matthews
from brulee.evaluation.resampling import Reduce
from brulee.evaluation.social_bias import representation
from brulee.evaluation.stats import compare, holm, interval, limits, mcnemar, resampled


def mean(mean_S: Array, items: float | Array) -> Array:
    return mean_S[..., 0]


def column(*values: float) -> Array:
    return np.array(values, dtype=np.float64)[:, None]


def outcomes(seed: int, count: int, shift: float = 0.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    base = rng.random((count, 1))
    return base, np.clip(base + rng.normal(shift, 0.2, (count, 1)), 0, 1)


# interval


def test_interval_of_a_mean_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(1).random((400, 1))
    found = interval(values, mean, resamples=4000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.003)
    assert found.high == pytest.approx(values.mean() + half, abs=0.003)
    assert found.n == 400


def test_interval_agrees_with_scipys_bca_at_hesterbergs_level() -> None:
    values = np.random.default_rng(2).beta(0.6, 4, 20)
    reach = math.sqrt(20 / 19) * scipy_stats.t.ppf(0.975, 19)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=19999, method="BCa",
        confidence_level=2 * scipy_stats.norm.cdf(reach) - 1, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    found = interval(values[:, None], mean, resamples=19999)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    trials, truth, covered = 400, 0.6, 0
    for trial in range(trials):
        sample = (rng.random((80, 1)) < truth).astype(float)
        found = interval(sample, mean, resamples=500, seed=trial)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / trials <= 0.98


def test_clustered_interval_covers_where_the_plain_one_is_too_narrow() -> None:
    rng = np.random.default_rng(12)
    clusters = np.repeat(np.arange(40), 5)
    trials, truth, plain, clustered = 200, 0.5, 0, 0
    for trial in range(trials):
        values = (rng.normal(truth, 0.2, 40)[clusters] + rng.normal(0, 0.1, 200))[:, None]
        found = interval(values, mean, resamples=400, seed=trial)
        plain += found.low <= truth <= found.high
        found = interval(values, mean, resamples=400, seed=trial, clusters=clusters)
        clustered += found.low <= truth <= found.high
    assert plain / trials < 0.80
    assert 0.88 <= clustered / trials <= 0.98


def test_clusters_of_one_give_the_plain_interval_under_any_names() -> None:
    values, _ = outcomes(3, 30)
    names = [f"item {30 - i}" for i in range(30)]
    plain = interval(values, mean)
    assert interval(values, mean, clusters=list(range(30))) == pytest.approx(plain)
    assert interval(values, mean, clusters=names) == pytest.approx(plain, abs=0.02)


def test_cluster_sizes_weigh_the_mean() -> None:
    found = interval(column(0.8, 0.8, 0.8, 0), mean, clusters=["a", "a", "a", "b"])
    assert found == (pytest.approx(0.6), 0.0, 1.0, 4)


def test_interval_is_repeatable_and_moves_with_the_seed() -> None:
    values, _ = outcomes(4, 50)
    assert interval(values, mean, seed=5) == interval(values, mean, seed=5)
    assert interval(values, mean, seed=5) != interval(values, mean, seed=6)


def test_level_widens_the_interval() -> None:
    values, _ = outcomes(5, 50)
    wide, narrow = interval(values, mean, level=0.99), interval(values, mean, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_drawing_in_chunks_covers_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    values, tuned = outcomes(6, 50)
    monkeypatch.setattr(resampling, "_KEPT", 0)
    whole = interval(values, mean, resamples=999)
    monkeypatch.setattr("brulee.evaluation.resampling._CHUNK", 50 * 7)  # 142 chunks of 7, one of 5
    assert interval(values, mean, resamples=999) == pytest.approx(whole)
    sizes = []

    def spy(mean_S: Array, items: float | Array) -> Array:
        sizes.append(np.size(items))
        return mean_S[..., 0]

    resampled(values, spy, resamples=999)
    assert sum(sizes) == 999
    assert max(sizes) == 7
    assert compare(values, tuned, mean, resamples=999).p >= 1 / 1000


def test_one_item_has_an_interval_of_no_width_unless_it_is_right_or_wrong() -> None:
    assert interval(column(0.4), mean) == (0.4, 0.4, 0.4, 1)
    assert interval(column(1), mean) == (1.0, pytest.approx(0.2065, abs=1e-4), 1.0, 1)


@pytest.mark.parametrize("items", [2, 4, 12, 200])
def test_items_that_are_all_alike_do_not_show_what_others_are(items: int) -> None:
    may = shares.unseen(items)
    found = interval(np.full((items, 1), 0.3), mean)
    assert (found.low, found.high) == pytest.approx((0.3 * (1 - may), 0.3 * (1 - may) + may))
    of_groups = interval(np.full((2 * items, 1), 0.3), mean, clusters=[*range(items)] * 2)
    assert of_groups[:3] == pytest.approx(found[:3])
    assert interval(np.full((items, 1), 7.0), mean)[:3] == (7.0, 7.0, 7.0)  # of no known range
    base, tuned = np.full((items, 1), 0.3), np.full((items, 1), 0.6)
    gained = compare(base, tuned, mean)
    middle = 0.3 * (1 - may)
    assert (gained.low, gained.high) == pytest.approx((middle - may, middle + may))


@pytest.mark.parametrize("items", [2, 4, 12, 200])
def test_a_ratio_that_is_alike_on_all_items_does_not_show_what_others_are(items: int) -> None:
    may = shares.unseen(items)
    four_of_five, none, all_ = (np.array([[n, 5.0]] * items) for n in (4.0, 0.0, 5.0))
    found = interval(four_of_five, ratio)
    assert (found.low, found.high) == pytest.approx((0.8 * (1 - may), 0.8 * (1 - may) + may))
    never, learned = compare(none, none, ratio), compare(none, all_, ratio)
    assert (never.difference, never.low, never.high) == pytest.approx((0, -may, may))
    assert (learned.low, learned.high) == pytest.approx((1 - 2 * may, 1))
    of_no_known_range = np.array([[7.0, 5.0]] * items)
    assert interval(of_no_known_range, ratio)[:3] == pytest.approx((1.4, 1.4, 1.4))
    grown = compare(none, of_no_known_range, ratio)
    assert (grown.low, grown.high) == pytest.approx((1.4, 1.4))


@pytest.mark.parametrize("items", [2, 4, 12, 40])
def test_a_correlation_that_is_alike_on_all_items_may_differ_to_either_side(items: int) -> None:
    may, reduce = shares.unseen(items), partial(Matthews(["0", "1"]).reduce, "matthews")
    constant, right, wrong = (
        np.array([_one_of_six(i % 2, guess(i)) for i in range(items)])
        for guess in (lambda _: 1, lambda i: i % 2, lambda i: 1 - i % 2)
    )
    # As many items as may be otherwise, in any one cell, or as far from 0 as they can.
    otherwise = [(1 - may) * constant.mean(0) + may * cell for cell in np.eye(6)]
    scores = [-may, may, *(float(reduce(mixed, float(items))) for mixed in otherwise)]
    expected = {0: (min(scores), max(scores)), 1: (1 - 2 * may, 1), -1: (-1, 2 * may - 1)}
    for value, sides in zip(expected, (constant, right, wrong), strict=True):
        found = interval(sides, reduce)
        assert found[:3] == pytest.approx((value, *expected[value]))
    turned = compare(wrong, right, reduce)
    assert (turned.difference, turned.high) == (2, 2)
    if items > 4:
        assert turned.low == pytest.approx(2 - 4 * may)
    else:  # so few prove nothing, whatever they do
        assert turned.low <= 0
    same = compare(constant, constant, reduce)
    assert (same.low, same.high) == pytest.approx((-2 * may, 2 * may))
    assert interval(constant[:1], reduce)[:3] == pytest.approx((0, -1, shares.unseen(1)))


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_the_correlation_of_a_model_that_always_says_the_same_may_be_negative(name: str) -> None:
    measure = metric(name)
    given = [measure.statistics("3", [str(i)])[name] for i in range(12)]
    found = interval(measure.join(name, np.array(given)), partial(measure.reduce, name))
    assert found[:3] == pytest.approx((0, -shares.unseen(12), shares.unseen(12)))


def test_a_correlation_of_few_items_may_change_by_two() -> None:
    reduce = partial(Matthews(["0", "1"]).reduce, "matthews")
    truth = [0, 1, 0, 1, 0, 1, 0]
    base = np.array([_one_of_six(t, 1 - t if i else t) for i, t in enumerate(truth)])
    tuned = np.array([_one_of_six(t, t) for t in truth])
    found = compare(base, tuned, reduce)
    assert found.difference > 1
    assert found.difference < found.high <= 2


@pytest.mark.parametrize("metric_of", [MacroF1, Matthews])
def test_a_label_of_one_item_leaves_a_change_open(metric_of: type[MacroF1 | Matthews]) -> None:
    """Of 20 items one has the label; that it was gained says little of another such item."""
    reduce = partial(metric_of(["0", "1"]).reduce, metric_of.keys[0])
    base, tuned = (np.array([_one_of_six(0, 0)] * 19 + [_one_of_six(1, k)]) for k in (0, 1))
    found = compare(base, tuned, reduce)
    assert found.difference > 0.4
    assert found.low <= 0
    assert found.p == 1.0
    more = compare(np.tile(base, (12, 1)), np.tile(tuned, (12, 1)), reduce)
    assert 0 < more.low < more.difference - 0.1
    assert more.p < 0.01


@pytest.mark.parametrize("metric_of", [MacroF1, Matthews])
def test_p_and_interval_of_labels_never_contradict(metric_of: type[MacroF1 | Matthews]) -> None:
    rng, reduce = np.random.default_rng(6), partial(metric_of(["0", "1"]).reduce, metric_of.keys[0])
    significant = 0
    for _ in range(60):
        truth = rng.integers(2, size=24)
        right = rng.random((2, 24)) < [[0.5], [0.8]]
        sides = [
            np.array([_one_of_six(t, t if r else 1 - t) for t, r in zip(truth, one, strict=True)])
            for one in right
        ]
        found = compare(*sides, reduce)
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        significant += found.p < 0.05
    assert 5 < significant < 55


@pytest.mark.parametrize("metric_of", [MacroF1, Matthews])
def test_a_score_of_a_rare_label_is_held_as_often_as_said(
    metric_of: type[MacroF1 | Matthews],
) -> None:
    """Two items of 20 have the label: resampling held such a score in 78 cases of a hundred."""
    reduce = partial(metric_of(["0", "1"]).reduce, metric_of.keys[0])
    rng, rates, right = np.random.default_rng(21), [0.9, 0.1], 0.3
    cells = [(1 - right) * a * b + right * a * (i == j)
             for i, a in enumerate(rates) for j, b in [*enumerate(rates), (2, 0.0)]]  # fmt: skip
    truth = float(reduce(np.array(cells), 1e9))
    tests = [interval(np.eye(6)[rng.choice(6, 20, p=cells)], reduce) for _ in range(200)]
    assert sum(one.low <= truth <= one.high for one in tests) >= 186
    # No wider than a normal interval with the true error would be.
    spread = np.std([one.value for one in tests])
    assert np.mean([one.high - one.low for one in tests]) < 2 * 1.96 * spread


def test_right_answers_to_few_items_of_a_label_prove_little_of_others() -> None:
    """That a resample may lack the label took room away, where it should have given some."""
    reduce = partial(Matthews(["0", "1"]).reduce, "matthews")
    rare = interval(np.array([_one_of_six(0, 0)] * 45 + [_one_of_six(1, 1)] * 5), reduce)
    even = interval(np.array([_one_of_six(0, 0), _one_of_six(1, 1)] * 25), reduce)
    assert rare.value == even.value == rare.high == even.high == 1.0
    assert even.low == pytest.approx(1 - 2 * shares.unseen(50))
    assert rare.low < even.low - 0.05


def test_a_score_of_many_labels_has_the_delta_methods_interval() -> None:
    """As Takahashi et al. (2022) derive it for macro F1."""
    counts = np.array([[300.0, 40, 10], [50, 250, 50], [30, 20, 250]])
    hits, said, wanted = np.diag(counts), counts.sum(0), counts.sum(1)
    f1 = 2 * hits / (said + wanted)
    slopes = -np.add.outer(f1 / (said + wanted), f1 / (said + wanted)) * 1000 / 3
    slopes += np.diag(2 / (said + wanted)) * 1000 / 3
    share = counts / 1000
    error = math.sqrt((share * slopes**2).sum() - (share * slopes).sum() ** 2) / math.sqrt(1000)
    items = np.repeat(
        np.eye(12).reshape(3, 4, 12)[:, :3].reshape(9, 12), counts.ravel().astype(int), 0
    )
    found = interval(items, partial(MacroF1(["0", "1", "2"]).reduce, "macro_f1"))
    assert found.value == pytest.approx(f1.mean())
    assert (found.low, found.high) == pytest.approx(
        (f1.mean() - 1.96 * error, f1.mean() + 1.96 * error), abs=0.001
    )


def test_labels_of_clusters_are_as_sure_as_clusters() -> None:
    rng, reduce = np.random.default_rng(7), partial(MacroF1(["0", "1"]).reduce, "macro_f1")
    truth = np.arange(40) % 2
    base, tuned = (
        np.array([_one_of_six(t, t ^ w) for t, w in zip(truth, rng.random(40) < rate, strict=True)])
        for rate in (0.4, 0.1)
    )
    names = np.repeat(np.arange(40), 3)
    plain = compare(base, tuned, reduce)
    copied = compare(np.repeat(base, 3, 0), np.repeat(tuned, 3, 0), reduce, clusters=names)
    assert copied[3:6] == pytest.approx(plain[3:6], abs=0.01)


def test_a_label_that_no_item_has_may_be_answered_in_any_way() -> None:
    """Of 20 items none has the second label: up to a sixth of others may, and all may be wrong."""
    reduce = partial(MacroF1(["0", "1"]).reduce, "macro_f1")
    some_wrong = np.array([_one_of_six(0, 0)] * 18 + [_one_of_six(0, 2)] * 2)
    found = interval(some_wrong, reduce)
    assert found.value > 0.9
    assert found.low < 0.5
    other = np.concatenate([some_wrong, [_one_of_six(1, 1)] * 2])
    assert interval(other, reduce).low > 0.5


def test_a_correlation_has_fishers_interval() -> None:
    """Of normal numbers, as 1 / sqrt(n - 3) says."""
    x, noise = np.random.default_rng(8).normal(size=(2, 400))
    pearson = metric("pearson")
    pairs = [
        pearson.statistics(repr(float(a)), [repr(float(b))])["pearson"]
        for a, b in zip(x, 0.5 * x + noise, strict=True)
    ]
    found = interval(np.array(pairs), partial(pearson.reduce, "pearson"))
    theirs = scipy_stats.pearsonr(x, 0.5 * x + noise)
    expected = theirs.confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert found.value - found.low > found.high - found.value  # skewed towards 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_p_and_interval_of_a_change_of_correlation_never_contradict(name: str) -> None:
    rng, measure = np.random.default_rng(9), metric(name)
    significant = 0
    for _ in range(40):
        wanted, *noise = rng.normal(size=(3, 25))
        sides = [
            measure.join(name, np.array([
                measure.statistics(repr(float(a)), [repr(float(b))])[name]
                for a, b in zip(by * wanted + one, wanted, strict=True)
            ]))
            for by, one in zip((0.3, 1.5), noise, strict=True)
        ]  # fmt: skip
        found = compare(*sides, partial(measure.reduce, name))
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        significant += found.p < 0.05
    assert 5 < significant < 40


def test_few_items_that_all_agree_prove_no_more_than_a_sign_test() -> None:
    reduce = partial(Matthews(["0", "1"]).reduce, "matthews")
    wrong, right = (np.array([_one_of_six(i % 2, (i + k) % 2) for i in range(5)]) for k in (1, 0))
    assert compare(wrong, right, reduce).p >= 2 / 2**5


def distance(mean_S: Array, items: float | Array) -> Array:
    """How far the mean is from 0."""
    return np.abs(mean_S[..., 0])


@pytest.mark.parametrize(
    ("values", "reduce"),
    [
        # Twice a word of one group and four times, alone, a word of the other.
        (np.tile([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]], (20, 1)), lambda m, _: representation(m)),
        (np.tile(column(0.5, -0.25, -0.25), (20, 1)), distance),
    ],
)
def test_a_distance_of_exactly_zero_may_be_chances(values: Array, reduce: Reduce) -> None:
    """No resample is below zero: correcting that as a bias gave bounds of 0 and 0."""
    found = interval(values, reduce)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(np.quantile(resampled(values, reduce), 0.977), rel=0.05)


def test_the_change_of_a_distance_far_from_zero_is_as_sure_as_that_of_the_mean() -> None:
    rng = np.random.default_rng(9)
    sides = rng.normal(0.4, 0.1, (50, 1)), rng.normal(0.2, 0.1, (50, 1))
    found, of_means = (compare(*sides, reduce) for reduce in (distance, mean))
    assert found[:5] == pytest.approx(of_means[:5], abs=0.005)


def test_a_change_of_calibration_is_not_taken_for_chances() -> None:
    """A calibrated model has an error of 0.08 by chance, which an overconfident one has not."""
    rng, ece, held = np.random.default_rng(10), metric("ece"), 0
    for _ in range(60):
        said = rng.beta(3, 2, 100)
        sides = [
            ece.join("ece", np.stack([said, rng.random(100) < np.clip(said - over, 0, 1)], 1))
            for over in (0.0, 0.3)
        ]
        found = compare(*sides, partial(ece.reduce, "ece"), 300)
        held += found.low <= 0.29 <= found.high
    assert held >= 50  # resampling the difference held it in 25 to 35


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_calibration_error_of_two_items_a_bin_may_be_chances(mirrored: bool) -> None:
    """Of 20 items half of an error is chance's: 30 changes of a hundred were not held."""
    rng, ece, held = np.random.default_rng(11), metric("ece"), 0
    reduce, truth = partial(ece.reduce, "ece"), -0.29 if mirrored else 0.29
    for _ in range(40):
        said = rng.beta(3, 2, 20)
        sides = [
            ece.join("ece", np.stack([said, rng.random(20) < np.clip(said - over, 0, 1)], 1))
            for over in ((0.3, 0.0) if mirrored else (0.0, 0.3))
        ]
        found = compare(*sides, reduce, 200)
        held += found.low <= truth <= found.high
        was, is_ = (interval(side, reduce, 200) for side in sides)
        if was.low == 0:
            assert found.high >= is_.high
        if is_.low == 0:
            assert found.low <= -was.high
    assert held >= 36


def _one_of_six(truth: int, guess: int) -> Array:
    """One item's confusion of two labels."""
    return np.asarray(np.arange(6) == 3 * truth + guess, dtype=np.float64)


@pytest.mark.parametrize("items", [1, 4, 30])
def test_all_right_and_all_wrong_are_wilsons(items: int) -> None:
    all_right = scipy_stats.binomtest(items, items).proportion_ci(method="wilson")
    right, wrong = (interval(np.full((items, 1), v), mean) for v in (1.0, 0.0))
    assert (right.low, right.high) == (pytest.approx(all_right.low), 1.0)
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - all_right.low))


def test_right_and_wrong_items_have_wilsons_interval_at_any_level() -> None:
    theirs = scipy_stats.binomtest(9, 13).proportion_ci(0.9, method="wilson")
    found = interval(column(*[1] * 9, *[0] * 4), mean, level=0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_copies_of_right_and_wrong_items_tell_no_more_than_one() -> None:
    values, names = column(*[1] * 21, *[0] * 9), np.repeat(np.arange(10), 3)
    plain, copied = interval(values, mean), interval(values, mean, clusters=names)
    few = interval(column(*[1] * 7, *[0] * 3), mean)
    assert copied.high - copied.low > few.high - few.low > plain.high - plain.low
    alike = interval(np.ones((30, 1)), mean, clusters=names)
    assert alike.low < interval(np.ones((10, 1)), mean).low
    assert interval(np.ones((30, 1)), mean, clusters=["a"] * 30).low < 0.1


def test_clusters_that_vary_less_than_chance_make_nothing_surer() -> None:
    """Pairs of one right and one wrong answer, but for two: no better known than by their items."""
    right = column(*[1, 0] * 20, 1, 1, 0, 0)
    plain = interval(right, mean)
    paired = interval(right, mean, clusters=np.repeat(np.arange(22), 2))
    assert paired.high - paired.low >= plain.high - plain.low


def test_a_ratio_that_is_right_in_all_items_may_be_wrong_in_another() -> None:
    all_right = np.array([[2.0, 2.0]] * 20 + [[0.0, 0.0]] * 10)
    found = interval(all_right, ratio)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.839, abs=1e-3)  # of 20: ten had nothing to be right in


def test_resamples_that_vary_cover_what_is_far_from_normal() -> None:
    found = interval(np.random.default_rng(3).random((6, 1)), mean)
    theirs = scipy_stats.t.interval(
        0.95, 5, *(lambda v: (v.mean(), v.std(ddof=1) / 6**0.5))(np.random.default_rng(3).random(6))
    )
    assert (found.low, found.high) == pytest.approx(theirs)


# compare


def test_exact_p_agrees_with_scipys_permutation_test() -> None:
    base, tuned = outcomes(7, 11, shift=0.08)
    theirs = scipy_stats.permutation_test(
        (tuned[:, 0], base[:, 0]),
        lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert compare(base, tuned, mean).p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_sampled_p_agrees_with_scipys_permutation_test() -> None:
    base, tuned = outcomes(8, 60, shift=0.04)
    theirs = scipy_stats.permutation_test(
        (tuned[:, 0], base[:, 0]),
        lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis),
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    assert 0.01 < theirs.pvalue < 0.99
    assert compare(base, tuned, mean, resamples=9999).p == pytest.approx(theirs.pvalue, abs=0.02)


def test_exact_p_by_hand() -> None:
    found = compare(column(0, 0, 0, 0), column(1, 1, 1, 1), mean)
    assert found.p == 2 / 16  # only all-swapped and none-swapped reach a difference of 1
    assert (found.wins, found.losses, found.ties) == (4, 0, 0)
    assert (found.base, found.tuned, found.difference) == (0.0, 1.0, 1.0)


def ratio(mean_S: Array, items: float | Array) -> Array:
    return mean_S[..., 0] / np.maximum(mean_S[..., 1], 1e-9)


def named(rng: np.random.Generator, most: int, right: float, count: int = 60) -> Array:
    """Names that are right, and names, of so many texts."""
    names = rng.integers(0, most + 1, count)
    return np.stack([rng.binomial(names, right), names], axis=-1).astype(np.float64)


def test_p_of_a_ratio_is_uniform_where_only_the_counts_below_changed() -> None:
    rng = np.random.default_rng(19)
    small = 0
    for trial in range(200):
        base, tuned = named(rng, 12, right=0.8), named(rng, 2, right=0.8)
        small += compare(base, tuned, ratio, resamples=300, seed=trial).p <= 0.1
    assert 0.05 <= small / 200 <= 0.16


def test_p_of_a_ratio_finds_what_did_change() -> None:
    rng = np.random.default_rng(20)
    found = compare(named(rng, 12, right=0.9), named(rng, 2, right=0.4), ratio)
    assert found.p < 0.01


def test_few_changed_items_prove_little_of_a_ratio() -> None:
    base = np.array([[4.0, 4.0]] * 32)
    tuned = np.array([[1.0, 1.0]] * 29 + [[0.0, 1.0]] * 3)
    assert 0.02 < compare(base, tuned, ratio).p < 0.3


def test_p_of_a_corpus_metric_tries_every_sign_of_what_items_add() -> None:
    bleu = metric("bleu")
    reference = "one two three four five six"
    texts = [("one two three x", "one two three four five"), ("six", reference), (reference, "one")]
    sides = [
        np.array([bleu.statistics(pair[side], [reference])["bleu"] for pair in texts])
        for side in (0, 1)
    ]
    reduce = partial(bleu.reduce, "bleu")

    def added(stats: Array) -> Array:
        whole = float(reduce(stats.mean(0), 3.0))
        without = [float(reduce(np.delete(stats, i, 0).mean(0), 2.0)) for i in range(3)]
        pulls = 2 / 3 * (whole - np.array(without))
        return whole / 3 + pulls - pulls.mean()

    each = added(sides[1]) - added(sides[0])
    found = compare(*sides, reduce)
    assert each.sum() == pytest.approx(found.difference)
    reached = [abs(s @ each) >= abs(each.sum()) - 1e-10 for s in product((-1, 1), repeat=3)]
    assert found.p == sum(reached) / 8


def test_p_of_the_mean_of_unequal_clusters_swaps_their_sums() -> None:
    base, tuned = outcomes(21, 24, shift=0.1)
    names = np.repeat(np.arange(6), [1, 2, 3, 4, 6, 8])
    sums = np.bincount(names, weights=(tuned - base)[:, 0])
    reached = [abs(s @ sums) >= abs(sums.sum()) - 1e-10 for s in product((-1, 1), repeat=6)]
    assert compare(base, tuned, mean, clusters=names).p == sum(reached) / 64


def test_p_is_uniform_where_nothing_changed() -> None:
    rng = np.random.default_rng(13)
    small = 0
    for trial in range(200):
        base, tuned = rng.random((2, 40, 1))
        small += compare(base, tuned, mean, resamples=300, seed=trial).p <= 0.1
    assert 0.05 <= small / 200 <= 0.16


def test_smallest_sampled_p_is_never_zero() -> None:
    assert compare(np.zeros((40, 1)), np.full((40, 1), 0.9), mean, resamples=99).p == 1 / 100


def test_signs_may_be_swapped_more_often_than_items_are_drawn() -> None:
    base = np.random.default_rng(4).random((40, 1))
    found = compare(base, base + np.linspace(0.1, 0.2, 40)[:, None], mean, 100, swaps=9999)
    assert found.p == 1 / 10_000


def test_p_of_right_and_wrong_is_mcnemars_whatever_their_number() -> None:
    rng = np.random.default_rng(16)
    base, tuned = (rng.random((400, 1)) < 0.5).astype(float), (rng.random((400, 1)) < 0.6) * 1.0
    found = compare(base, tuned, mean)
    assert found.p == mcnemar(base[:, 0], tuned[:, 0])
    sampled = compare(base, tuned, lambda mean_S, _: mean_S[..., 0] * 2, resamples=20000)
    assert found.p == pytest.approx(sampled.p, abs=0.02)
    names = np.arange(400) // 2
    assert compare(base, tuned, mean, clusters=names).p != found.p


def test_swapping_sides_mirrors_the_comparison() -> None:
    base, tuned = outcomes(9, 30, shift=0.1)
    there, back = compare(base, tuned, mean), compare(tuned, base, mean)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert back.p == pytest.approx(there.p, abs=1e-9)


def test_pairing_finds_what_two_separate_intervals_hide() -> None:
    base = np.random.default_rng(14).random((50, 1))
    tuned = base + 0.05
    found = compare(base, tuned, mean)
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert found.p < 0.001
    assert interval(base, mean).high > interval(tuned, mean).low


def test_identical_sides_are_all_ties() -> None:
    values, _ = outcomes(10, 40)
    found = compare(values, values, mean)
    may = 1.96**2 / (40 + 1.96**2)  # of 40 that stayed as they were, that many others may not
    assert (found.difference, found.p) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-may, may), abs=1e-5)
    assert (found.wins, found.losses, found.ties) == (0, 0, 40)
    assert found.minimum_detectable is None
    counts = np.random.default_rng(1).integers(50, 99, (40, 2)) * 1.0
    assert compare(counts, counts, ratio)[3:5] == (0.0, 0.0)  # no bounds are known of such a score


def test_a_gain_on_few_items_rules_no_loss_out() -> None:
    base, tuned = column(*[0.3] * 12), column(*[0.3] * 11, 0.4)
    found = compare(base, tuned, mean)
    assert found.low == pytest.approx(-(1.96**2) / (12 + 1.96**2), abs=1e-4)
    assert 0.01 < found.high < 0.1
    lost = compare(tuned, base, mean)  # nor a loss on few a gain
    assert (lost.low, lost.high) == pytest.approx((-found.high, -found.low))


def test_no_difference_of_scores_between_0_and_1_is_beyond_1() -> None:
    def f1(mean_S: np.ndarray, items: object) -> np.ndarray:
        return 2 * mean_S[..., 0] / np.maximum(mean_S[..., 1] + mean_S[..., 2], 1e-9)

    base, tuned = np.array([[0.0, 4, 5]] * 2), np.array([[5.0, 5, 5], [2, 5, 5]])
    found = compare(base, tuned, f1)
    assert found.high == 1.0
    assert compare(tuned, base, f1).low == -1.0
    ones = compare(column(0.0, 0.0, 0.1), column(1.0, 0.5, 0.9), mean)
    assert ones.high == 1.0
    assert compare(column(0.0, 0.0), column(9.0, 3.0), mean).high > 1.0  # a score beyond 1


def test_shares_of_the_same_items_have_tangos_interval() -> None:
    """The bounds are where a difference is as far off as the score test allows."""
    base, tuned = column(*[0] * 9, *[1] * 3, *[1] * 28), column(*[1] * 9, *[0] * 3, *[1] * 28)
    found = compare(base, tuned, mean)
    for change in (found.low, found.high):
        losses = np.linspace(1e-6, 0.5, 200_001)  # the likeliest losses at this difference
        gains, rest = losses + change, 1 - 2 * losses - change
        inside = (gains > 0) & (rest > 0)
        log = 9 * np.log(gains[inside]) + 3 * np.log(losses[inside]) + 28 * np.log(rest[inside])
        likeliest = losses[inside][log.argmax()]
        spread = math.sqrt(40 * (2 * likeliest + change - change**2))
        assert abs(6 - 40 * change) / spread == pytest.approx(1.96, abs=2e-3)


def test_the_error_of_a_change_of_shares_counts_an_item_gained_and_one_lost() -> None:
    up, down = 8 / 22, 3 / 22
    expected = math.sqrt((up + down - (up - down) ** 2) / 22)
    assert shares.paired_error(7, 2, 20) == pytest.approx(expected)


def test_a_published_example_has_its_interval() -> None:
    """21 children before and after a transplant, one and seven of whom changed.

    Fagerland, Lydersen and Laake (2014), "Recommended tests and confidence intervals for paired
    binomial proportions", Statistics in Medicine 33(16), give -0.517 to -0.026 as Tango's.
    """
    before = column(*[1] * 1, *[1] * 1, *[0] * 7, *[0] * 12)
    after = column(*[1] * 1, *[0] * 1, *[1] * 7, *[0] * 12)
    found = compare(after, before, mean)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)
    assert found.difference == pytest.approx(-6 / 21)


def test_shares_are_never_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 answers that took ten seconds, and gave nothing that was used."""
    monkeypatch.setattr(resampling, "draws", lambda *_: pytest.fail("resampled"))
    right = (np.random.default_rng(0).random((100_000, 2)) < 0.4) * 1.0
    assert interval(right[:, :1], mean).n == 100_000
    assert compare(right[:, :1], right[:, 1:], mean).p > 0.001


def test_many_units_are_drawn_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_KEPT", 0)
    long = np.concatenate(list(resampling.draws(1200, 40, 3)))
    monkeypatch.setattr(resampling, "_LONG", 2000)
    assert (long == np.concatenate(list(resampling.draws(1200, 40, 3)))).all()
    assert (long.sum(1) == 1200).all()


def test_scores_of_the_same_items_draw_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values, tuned = outcomes(17, 70)
    first = interval(values, mean, 300, seed=17), compare(values, tuned, mean, 300, seed=17)
    kept = resampling._kept.cache_info().misses
    again = interval(values, mean, 300, seed=17), compare(values, tuned, mean, 300, seed=17)
    assert resampling._kept.cache_info().misses == kept
    monkeypatch.setattr(resampling, "_KEPT", 0)
    anew = interval(values, mean, 300, seed=17), compare(values, tuned, mean, 300, seed=17)
    assert first == again == anew


def test_nothing_is_detectable_of_items_that_all_change_alike() -> None:
    """Rounding left a spread of 1e-32 of them."""
    assert compare(column(*[0.3] * 20), column(*[0.4] * 20), mean).minimum_detectable is None


def test_what_is_detectable_is_known_where_no_answer_changed() -> None:
    same = compare(np.ones((50, 1)), np.ones((50, 1)), mean)
    # Six gains are needed for a p below 5 %: 6 of 50 are gained or more in four cases of five.
    assert same.minimum_detectable == pytest.approx(0.1535, abs=1e-3)


def test_differences_that_are_small_in_every_item_are_no_rounding() -> None:
    base = np.random.default_rng(0).random((30_000, 1)) + 1
    assert compare(base, base + 1e-7, mean, resamples=50).p == 1 / 51
    assert compare(base, base, mean, resamples=50).p == 1.0


def test_few_that_differ_among_many_are_tried_in_every_way() -> None:
    base, tuned = np.full((60, 1), 0.5), np.full((60, 1), 0.5)
    tuned[:5] = 0.7
    assert compare(base, tuned, mean).p == 2 / 32


def test_identical_sides_of_a_single_item_are_a_tie() -> None:
    assert compare(column(0.3), column(0.3), mean).p == 1.0


def test_a_single_item_proves_nothing() -> None:
    found = compare(column(0), column(1), mean)
    assert found.p == 1.0
    assert found.low < 0 < found.high
    assert found.minimum_detectable is None
    wrong = np.array([[0.0, 4, 5]])  # a ratio of counts, 0 as a share of right ones may be
    ratio = partial(metric("json").reduce, "json_f1")
    shown = compare(column(0), column(0), mean)[3:5]
    assert compare(wrong, wrong, ratio)[3:5] == pytest.approx(shown)
    half = np.array([[2.0, 4, 5]])
    assert compare(half, half, ratio)[3:5] == pytest.approx(shown)
    group = np.repeat(half, 3, 0)
    assert compare(group, group, ratio, clusters=[*"aaa"])[3:5] == pytest.approx(shown)
    one = compare(column(0.2), column(0.6), mean)
    assert (one.low, one.high) == (one.difference, one.difference)  # no spread is known of it


def test_of_so_few_items_nothing_is_detectable_however_they_differ() -> None:
    found = compare(np.zeros((5, 1)), np.ones((5, 1)) * 0.4, mean)
    assert found.p > 0.05
    assert found.minimum_detectable is None


def test_minimum_detectable_is_found_in_four_cases_of_five() -> None:
    rng = np.random.default_rng(15)
    noise = rng.normal(0, 0.3, (50, 1))
    detectable = compare(np.zeros((50, 1)), noise, mean, resamples=4000).minimum_detectable
    assert detectable == pytest.approx(2.8 * noise.std(ddof=1) / math.sqrt(50), rel=0.05)
    few = compare(np.zeros((6, 1)), noise[:6], mean, resamples=4000).minimum_detectable
    assert few == pytest.approx(3.49 * noise[:6].std(ddof=1) / math.sqrt(6), rel=0.05)  # t, not z
    effect = 2.8 * 0.3 / math.sqrt(50)
    found = sum(
        compare(np.zeros((50, 1)), rng.normal(effect, 0.3, (50, 1)), mean, 400).p <= 0.05
        for _ in range(150)
    )
    assert 0.70 <= found / 150 <= 0.90


def test_clusters_are_swapped_whole() -> None:
    base, tuned = column(0, 0, 0, 0, 0, 0), column(1, 1, 1, 1, 1, 1)
    found = compare(base, tuned, mean, clusters=["a", "a", "a", "b", "b", "b"])
    assert found.p == 2 / 4
    assert found.wins == 6


# mcnemar, holm


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (8, 1), (3, 17), (400, 330)])
def test_mcnemar_is_the_binomial_test_of_the_discordant(gained: int, lost: int) -> None:
    base = [0] * gained + [1] * lost + [0, 1, 1]
    tuned = [1] * gained + [0] * lost + [0, 1, 1]
    both = gained + lost
    expected = scipy_stats.binomtest(gained, both).pvalue if both else 1.0
    assert mcnemar(base, tuned) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(np.array(base, dtype=bool), tuned) == mcnemar(tuned, base)


def test_mcnemar_equals_the_exact_randomisation_test() -> None:
    base, tuned = column(0, 0, 0, 0, 1, 1, 0), column(1, 1, 1, 1, 0, 1, 0)
    assert compare(base, tuned, mean).p == pytest.approx(mcnemar(base[:, 0], tuned[:, 0]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


# bad input


@pytest.mark.parametrize(
    "values", [[[0.1], [math.nan]], [[math.nan], [0.1]], [[0.1], [math.inf]], [[-math.inf], [0.1]]]
)
def test_what_is_no_number_is_named_by_its_item(values: list[list[float]]) -> None:
    bad = int(not math.isfinite(values[1][0]))
    with pytest.raises(ValueError, match=f"NaN or an infinity, first in item {bad}"):
        interval(values, mean)
    with pytest.raises(ValueError, match="tuned statistics hold a NaN"):
        compare([[0.0], [0.0]], values, mean)


@pytest.mark.parametrize("values", [[], [0.1, 0.2], np.zeros((0, 1)), np.zeros((3, 0))])
def test_wrong_shapes_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, S\)"):
        interval(values, mean)


def test_unpaired_items_are_refused() -> None:
    with pytest.raises(ValueError, match="same items on both sides"):
        compare(np.zeros((3, 1)), np.zeros((4, 1)), mean)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(column(1), mean, level=95)
    with pytest.raises(ValueError, match="resamples is 0"):
        interval(column(1), mean, resamples=0)
    with pytest.raises(ValueError, match=r"clusters have shape \(2,\)"):
        interval(column(1), mean, clusters=[1, 2])
    with pytest.raises(ValueError, match="must be 0 or 1"):
        mcnemar([0, 2], [1, 1])
    with pytest.raises(ValueError, match=r"both must be \(N,\)"):
        mcnemar([0, 1], [1])
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, math.nan])


@pytest.mark.parametrize("densities", [(1.2, 9.0), (0.1, 3.0, 8.0), (0.0, 4.0, 0.0)])
def test_a_mean_of_lengths_has_no_bound_below_zero(densities: tuple[float, ...]) -> None:
    found = interval(column(*densities), mean)
    assert found.low == 0.0
    assert found.high > max(densities)
    below = interval(column(-1.2, *densities), mean)
    assert below.low < 0.0


def test_limits_are_those_of_a_kind_of_score() -> None:
    values = column(0.2, 0.9)
    assert limits(mean, values) == (0.0, 1.0)
    assert limits(mean, values, column(0.2, 1.1)) == (-math.inf, math.inf)
    ratio = np.hstack([values, values + 1])  # as bits per byte, of which other texts may have more
    assert limits(lambda mean_S, _: mean_S[..., 0] / mean_S[..., 1], ratio) == (-math.inf, math.inf)
