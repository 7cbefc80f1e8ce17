"""Scores over phrasings: items are drawn, phrasings are not, and chance is no spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from brulee.errors import BruleeError
from brulee.evaluation import metric
from brulee.evaluation.answers import Answer
from brulee.evaluation.base import Array
from brulee.evaluation.phrasings import Table, by_phrasing, change, table, tables
from brulee.evaluation.shares import unseen
from brulee.evaluation.stats import interval

ACCURACY = metric("accuracy")


def answers(right_NP: Array) -> list[list[Answer]]:
    """Answers of which so many are right, a list for each phrasing."""
    return [
        [
            Answer(
                str(i), "t", "", "", (), {}, {"accuracy": [float(right)]}, 1, phrasing=f"asked {p}"
            )
            for i, right in enumerate(of)
        ]
        for p, of in enumerate(right_NP.T)
    ]  # fmt: skip


def tabled(right_NP: Array) -> Table:
    return table(answers(right_NP), "accuracy", [ACCURACY] * right_NP.shape[1])


def drawn(rng: np.random.Generator, items: int, phrasings: Sequence[float]) -> Array:
    """Right or wrong: harder and easier items, worse and better phrasings."""
    logits_NP = rng.normal(0, 1.5, items)[:, None] + np.asarray(phrasings)
    logits_NP = logits_NP + rng.normal(0, 1, logits_NP.shape)
    right: Array = (rng.random(logits_NP.shape) < 1 / (1 + np.exp(-logits_NP))).astype(float)
    return right


def test_an_item_counts_once_however_many_phrasings_it_has() -> None:
    right_N1 = np.random.default_rng(0).integers(0, 2, (40, 1)).astype(float)
    one, many = tabled(right_N1), tabled(right_N1.repeat(10, axis=1))
    assert interval(many.stats, many.reduce) == interval(one.stats, one.reduce)


def test_the_score_is_the_mean_over_items_of_their_mean_over_phrasings() -> None:
    right_NP = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=float)
    found = tabled(right_NP)
    assert found.stats[:, 0].tolist() == pytest.approx([1 / 3, 2 / 3, 0, 1])
    assert found.scores(found.each.mean(axis=0), 4.0).tolist() == [0.75, 0.5, 0.25]


def test_a_corpus_score_is_averaged_over_phrasings_and_not_pooled() -> None:
    labels = [("yes", "no"), ("0", "1", "2")]
    said = [[("yes", "yes"), ("no", "yes")], [("1", "0"), ("2", "2")]]
    metrics = [metric("macro_f1", own) for own in labels]
    parts = [
        [
            Answer(
                str(i), "t", "", output, (reference,), {},
                {k: v.tolist() for k, v in own.statistics(output, [reference]).items()}, 1,
                phrasing=str(p),
            )
            for i, (output, reference) in enumerate(of)
        ]
        for p, (of, own) in enumerate(zip(said, metrics, strict=True))
    ]  # fmt: skip
    found = table(parts, "macro_f1", metrics)
    alone = [table([part], "macro_f1", [own]) for part, own in zip(parts, metrics, strict=True)]
    each = [float(one.reduce(one.stats.mean(axis=0), 2.0)) for one in alone]
    assert float(found.reduce(found.stats.mean(axis=0), 2.0)) == pytest.approx(sum(each) / 2)
    assert found.scores(found.each.mean(axis=0), 2.0).tolist() == pytest.approx(each)


def test_phrasings_of_other_items_are_no_table() -> None:
    parts = answers(np.zeros((3, 2)))
    assert by_phrasing([*parts[0], *parts[1]]) == parts
    assert by_phrasing(parts[0]) == parts[:1]
    with pytest.raises(ValueError, match="same items"):
        by_phrasing([*parts[0], *parts[1][:2]])


def test_phrasings_that_differ_by_chance_alone_have_little_spread() -> None:
    rng = np.random.default_rng(1)
    found = [change(*[tabled(drawn(rng, 60, [0.5] * 8))] * 2, 300).base for _ in range(40)]
    deviations, spreads = (np.mean([getattr(s, k) for s in found]) for k in ("deviation", "spread"))
    assert deviations > 0.04
    assert spreads < 0.4 * deviations


def test_the_spread_of_two_phrasings_is_their_distance_without_the_chance_in_it() -> None:
    right_NP = drawn(np.random.default_rng(4), 60, [-1.5, 1.5])
    apart_N = right_NP[:, 0] - right_NP[:, 1]
    found = change(*[tabled(right_NP)] * 2, 4000).base
    assert found.deviation == pytest.approx(abs(apart_N.mean()) / np.sqrt(2))
    chance = apart_N.var(ddof=1) / 60 / 2
    assert found.spread == pytest.approx(np.sqrt(found.deviation**2 - chance), rel=0.002)


def test_the_change_of_the_spread_lies_in_its_interval_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    apart, close = [-1.0, -0.5, 0.0, 0.6, 1.1, 0.2], [2.0, 2.1, 2.0, 1.9, 2.0, 2.1]
    truth = [drawn(rng, 200_000, of).mean(axis=0).std(ddof=1) for of in (apart, close)]
    held = moved = 0
    for _ in range(60):
        sides = [tabled(drawn(rng, 80, of)) for of in (apart, close)]
        found = change(*sides, 300)
        held += found.low <= truth[1] - truth[0] <= found.high
        moved += found.high < 0
    assert held >= 54
    assert moved >= 50


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ([-1.0, -0.5, 0.0, 0.6, 1.1, 0.2], 0, 0.1),  # as far apart
        ([1.1, 0.6, 0.2, -0.5, -1.0, 0.0], 0, 0.1),  # as far apart in another order
        ([2.0, 2.1, 2.0, 1.9, 2.0, 2.1], 0.85, 1),
    ],
)
def test_p_of_the_spread_is_low_where_the_spread_changed_and_seldom_elsewhere(
    after: list[float], least: float, most: float
) -> None:
    rng, trials, low = np.random.default_rng(5), 100, 0
    for _ in range(trials):
        sides = [tabled(drawn(rng, 120, of)) for of in ([-1.0, -0.5, 0.0, 0.6, 1.1, 0.2], after)]
        low += change(*sides, 200).p < 0.05
    assert least <= low / trials <= most


def test_p_of_the_spread_is_of_what_items_add_to_it() -> None:
    rng = np.random.default_rng(6)
    sides = [drawn(rng, 9, of) for of in ([0.0, 0.5, 2.0], [0.0, 0.1, 0.2])]
    added = []
    for right_NP in sides:
        apart_NP = right_NP - right_NP.mean(axis=1, keepdims=True)
        pairs = [
            [float(a @ b) / 2 for j, b in enumerate(apart_NP) if j != i]
            for i, a in enumerate(apart_NP)
        ]
        each = np.array([sum(of) / 8 for of in pairs])
        added.append((2 * each - each.mean()) / 9)
    change_9 = added[1] - added[0]
    signs = np.array([[1 - 2 * (k >> i & 1) for i in range(9)] for k in range(1 << 9)])
    expected = (np.abs(signs @ change_9) >= abs(change_9.sum()) - 1e-12).mean()
    assert 0 < expected < 1
    assert change(*[tabled(of) for of in sides], 50).p == pytest.approx(expected)


def test_items_of_one_cluster_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    right_NP = drawn(rng, 30, [0.0, 0.4, 1.0])
    once = tabled(right_NP)
    copies = tabled(right_NP.repeat(4, axis=0))
    of = [f"{i:02}" for i in range(30) for _ in range(4)]
    found, alone = change(copies, copies, 200, of), change(once, once, 200)
    assert found.base.spread == pytest.approx(alone.base.spread)
    assert change(copies, copies, 200).base.spread > alone.base.spread
    other = drawn(rng, 30, [0.0, 0.1, 0.0])
    paired = change(copies, tabled(other.repeat(4, axis=0)), 200, of)
    assert paired.p == pytest.approx(change(once, tabled(other), 200).p)


def test_a_single_item_has_no_interval_of_its_spread() -> None:
    found = change(tabled(np.array([[1.0, 0.0]])), tabled(np.array([[1.0, 1.0]])), 50)
    assert found.low == found.difference == found.high
    assert found.p == 1.0


def test_few_items_that_are_all_alike_leave_room_for_others() -> None:
    alike = tabled(np.array([[1.0, 0.0, 0.0]] * 12))
    score = interval(alike.stats, alike.reduce)
    may = unseen(12)
    assert (score.low, score.high) == pytest.approx(((1 - may) / 3, (1 - may) / 3 + may))
    none = tabled(np.ones((12, 4)))
    found = change(none, none, 50)
    far = may * float(np.std([1, 1, 0, 0], ddof=1))
    assert (found.difference, found.p) == (0, 1)
    assert (found.low, found.high) == pytest.approx((-far, far))
    apart = tabled(np.array([[1.0, 0.0, 0.0, 1.0]] * 12))
    grown = change(none, apart, 50)
    assert 0 < grown.low < grown.difference <= grown.high
    assert grown.p < 0.01


def test_fields_that_are_never_right_under_any_phrasing_leave_room_for_others() -> None:
    json_fields = metric("json")

    def under(output: str) -> Table:
        counted = json_fields.statistics(output, ['{"a": 1}'])
        statistics = {key: list(map(float, of)) for key, of in counted.items()}
        parts = [
            [Answer(str(i), "t", "", output, (), {}, statistics, 1, phrasing=p) for i in range(12)]
            for p in "xy"
        ]
        return table(parts, "json_f1", [json_fields] * 2)

    found = change(under("no JSON"), under('{"a": 1}'), 50)
    assert (found.base.scores, found.tuned.scores) == ((0, 0), (1, 1))
    assert found.low == pytest.approx(-found.high)
    assert found.high > 0.1


def test_a_score_of_other_items_before_than_after_is_not_paired() -> None:
    def side(having: str) -> list[Answer]:
        return [
            Answer(i, "t", "", "", (), {}, {"accuracy": [1.0]} if i in having else {}, 1)
            for i in "123"
        ]

    metrics = [[ACCURACY]]
    assert [key for key, *_ in tables([[side("12")], [side("12")]], metrics)] == ["accuracy"]
    assert not list(tables([[side("")], [side("")]], metrics))
    for odd in ("23", "1", ""):
        with pytest.raises(BruleeError, match="metric 'accuracy' judged some items of one model"):
            list(tables([[side("12")], [side(odd)]], metrics))
