"""The mixture: stated shares, each row once an epoch, draws that depend on (seed, i) only."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from scipy.stats import chisquare

from brulee.data.mixture import Draw, Mixture
from brulee.data.parts import Group, Part
from brulee.data.rates import Rates
from brulee.errors import InputError

WEIGHTS = Rates("weights")
# The shares that FLAN 2022 was run with.
FLAN = {"flan": 0.40, "t0": 0.32, "niv2": 0.20, "cot": 0.05, "dialog": 0.03}


def of_three(**options: int) -> Group:
    parts = [Part("a", range(100), 4), Part("b", [5, 6, 9], 3), Part("c", range(1_000), 1)]
    return Group("mix", parts, Rates("proportional", **options))


def by_part(mixture: Mixture, draws: int) -> dict[str, list[Draw]]:
    found: dict[str, list[Draw]] = {}
    for draw in map(mixture.sample, range(draws)):
        found.setdefault(draw.part, []).append(draw)
    return found


def test_no_row_comes_twice_before_its_part_is_exhausted() -> None:
    mixture = Mixture(of_three(rate_cap=50), seed=1, period=1_000)
    rows = {"a": list(range(100)), "b": [5, 6, 9], "c": list(range(1_000))}
    for part, draws in by_part(mixture, 3_000).items():
        size = len(rows[part])
        for epoch, start in enumerate(range(0, len(draws) - size + 1, size)):
            turn = draws[start : start + size]
            assert sorted(draw.row for draw in turn) == rows[part]
            assert {draw.epoch for draw in turn} == {epoch}


def test_each_epoch_of_a_part_has_an_order_and_phrasings_of_its_own() -> None:
    draws = by_part(Mixture(of_three(), seed=0, period=1_000), 5_000)["a"]
    orders = {tuple(d.row for d in draws if d.epoch == epoch) for epoch in range(3)}
    assert len(orders) == 3
    templates = {row: {d.template for d in draws if d.row == row} for row in range(100)}
    assert sum(len(seen) > 1 for seen in templates.values()) > 80


def test_templates_are_drawn_evenly() -> None:
    draws = by_part(Mixture(of_three(rate_cap=100), seed=0, period=1_000), 10_000)["a"]
    assert chisquare(list(Counter(d.template for d in draws).values())).pvalue > 0.001


def test_a_sample_depends_on_neither_what_was_drawn_before_nor_the_process() -> None:
    mixture = Mixture(of_three(), seed=3)
    forwards = [mixture.sample(i) for i in range(500)]
    assert [Mixture(of_three(), seed=3).sample(i) for i in range(499, -1, -499)] == [
        forwards[499],
        forwards[0],
    ]
    assert [mixture.sample(i) for i in reversed(range(500))] == forwards[::-1]
    code = (
        "from brulee.data.mixture import Mixture\nfrom brulee.data.parts import Group, Part\n"
        "parts = [Part('a', range(1000), 7), Part('b', range(50), 2)]\n"
        "print(tuple(Mixture(Group('mix', parts), 3).sample(123456789)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    parts = [Part("a", range(1_000), 7), Part("b", range(50), 2)]
    assert ran.stdout.strip() == str(tuple(Mixture(Group("mix", parts), 3).sample(123_456_789)))


def test_a_run_that_resumes_at_i_goes_on_with_the_same_samples() -> None:
    whole = [Mixture(of_three(), seed=9).sample(i) for i in (0, 1_234, 1_235, 999_999, 1_000_000)]
    resumed = pickle.loads(pickle.dumps(Mixture(of_three(), seed=9)))
    assert [resumed.sample(i) for i in (1_234, 1_235, 999_999, 1_000_000)] == whole[1:]


def test_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(Mixture(of_three(), seed, period=1_000).sample(i) for i in range(30))
        for seed in (0, 1)
    }
    assert len(orders) == 2


def test_another_part_leaves_the_order_of_the_first_as_it_was() -> None:
    one = Group("mix", [Part("a", range(100), 4)])
    two = Group("mix", [Part("b", range(900), 4), Part("a", range(100), 4)])
    alone = by_part(Mixture(one, seed=0, period=1_000), 100)["a"]
    assert by_part(Mixture(two, seed=0, period=1_000), 1_000)["a"] == alone


def test_shares_are_exact_over_a_period_and_within_sampling_error_at_random_indices() -> None:
    parts = [Part(name, range(1_000), 2, weight) for name, weight in FLAN.items()]
    mixture = Mixture(Group("mix", parts, WEIGHTS), seed=0, period=10_000)
    counts = {part: len(draws) for part, draws in by_part(mixture, 10_000).items()}
    assert counts == {"flan": 4_000, "t0": 3_200, "niv2": 2_000, "cot": 500, "dialog": 300}
    anywhere = Random(0)
    scattered = Counter(mixture.sample(anywhere.randrange(10**12)).part for _ in range(5_000))
    expected = [5_000 * share for share in FLAN.values()]
    assert chisquare([scattered[name] for name in FLAN], expected).pvalue > 0.001


def test_shares_of_nested_groups_multiply() -> None:
    flan = [Part("snli", range(30_000), 10), Part("rte", range(2_490), 10)]
    cot = [Part("gsm8k", range(7_000), 1), Part("aqua", range(9), 1), Part("esnli", range(9), 1)]
    mix = [
        Group("flan", flan, Rates(rate_cap=3_000), weight=0.8),
        Group("cot", cot, Rates("equal"), weight=0.2),
    ]
    mixture = Mixture(Group("mix", mix, WEIGHTS), seed=0)
    assert mixture.shares == pytest.approx(
        {
            "flan/snli": 0.8 * 3_000 / 5_490,
            "flan/rte": 0.8 * 2_490 / 5_490,
            "cot/gsm8k": 0.2 / 3,
            "cot/aqua": 0.2 / 3,
            "cot/esnli": 0.2 / 3,
        }
    )
    assert {d.part for d in map(mixture.sample, range(200))} <= set(mixture.shares)


def test_shares_multiply_down_to_the_third_level() -> None:
    pair = [Part("a", range(9), 1), Part("b", range(9), 1)]
    half = Rates("equal")
    inner = Group("inner", [Group("core", pair, half), Part("c", range(9), 1)], half)
    mixture = Mixture(Group("mix", [inner, Part("d", range(9), 1)], half), seed=0, period=1_000)
    assert mixture.shares == {
        "inner/core/a": 1 / 8,
        "inner/core/b": 1 / 8,
        "inner/c": 1 / 4,
        "d": 0.5,
    }
    counts = [report.draws for report in mixture.describe(1_000)]
    assert counts == [125, 125, 250, 500]


def test_a_group_counts_as_many_rows_as_its_members() -> None:
    inner = Group("inner", [Part("a", range(30), 1), Part("b", range(60), 1, row_cap=20)])
    mixture = Mixture(Group("mix", [inner, Part("c", range(50), 1)]), seed=0, period=1_000)
    assert mixture.shares == pytest.approx({"inner/a": 0.3, "inner/b": 0.2, "c": 0.5})


def test_a_cap_on_rows_uses_only_that_many_and_a_cap_on_the_rate_uses_all() -> None:
    def rows(row_cap: int | None, rate_cap: int | None, seed: int = 0) -> list[int]:
        part = Part("a", range(500, 1_500), 2, row_cap=row_cap)
        group = Group("mix", [part, Part("b", range(100), 1)], Rates(rate_cap=rate_cap))
        draws = by_part(Mixture(group, seed, period=1_000), 4_000)["a"]
        return sorted({draw.row for draw in draws})

    assert rows(None, 100) == list(range(500, 1_500))
    capped = rows(100, None)
    assert len(capped) == 100
    assert capped != list(range(500, 600))
    assert rows(100, None, seed=1) == capped
    assert set(rows(40, None)) < set(capped)


def test_a_capped_part_still_has_every_row_once_an_epoch() -> None:
    mixture = Mixture(Group("mix", [Part("a", range(1_000), 2, row_cap=70)]), seed=0, period=1_000)
    draws = [mixture.sample(i).row for i in range(140)]
    assert len(set(draws[:70])) == 70
    assert sorted(draws[:70]) == sorted(draws[70:])


def test_a_description_says_what_drawing_gives() -> None:
    group = Group("mix", [Part("a", range(100), 1, 3.0), Part("b", range(40), 1, 1.0, 10)], WEIGHTS)
    mixture = Mixture(group, seed=0, period=1_000)
    drawn = by_part(mixture, 2_345)
    a, b = mixture.describe(2_345, tokens={"a": 10.0, "b": 50.0})
    assert (a.part, a.rows, a.of_rows, a.share) == ("a", 100, 100, 0.75)
    assert (b.part, b.rows, b.of_rows, b.share) == ("b", 10, 40, 0.25)
    assert (a.draws, b.draws) == (len(drawn["a"]), len(drawn["b"]))
    assert a.realised == pytest.approx(0.75, abs=0.002)
    assert b.epochs == len(drawn["b"]) / 10
    assert a.token_share == pytest.approx(10 * a.draws / (10 * a.draws + 50 * b.draws))
    assert mixture.describe(10)[0].token_share is None


def test_two_thousand_parts_of_a_million_rows_are_opened_without_looking_at_rows() -> None:
    parts = [Part(f"task{n}", range(1_000_000), 10) for n in range(2_000)]
    mixture = Mixture(Group("mix", parts), seed=0)
    assert len({mixture.sample(10**15 + i).part for i in range(300)}) > 200


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "mix: has no members"),
        ([Part("a", [], 1)], "mix: 'a' has 0 rows and 1 templates"),
        ([Part("a", [1], 0)], "mix: 'a' has 1 rows and 0 templates"),
        ([Part("a", [1], 1), Part("a", [2], 1)], "mix: 'a' comes twice"),
        ([Part("a/b", [1], 1)], "mix: 'a/b' is not a name"),
        ([Part("a", [1], 1, row_cap=0)], "mix: 'a' has the row_cap 0"),
        ([Group("inner", [Part("x", [], 1)])], "mix/inner: 'x' has 0 rows"),
        ([Group("inner", []), Part("a", [1], 1)], "mix/inner: has no members"),
        ([Part("a", [1], 1, weight=2)], "mix: 'a' has a weight"),
    ],
)
def test_a_blend_that_cannot_be_drawn_from_is_refused(
    members: list[Part | Group], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Mixture(Group("mix", members), seed=0)


def test_a_negative_index_and_an_empty_description_are_refused() -> None:
    mixture = Mixture(of_three(), seed=0, period=1_000)
    with pytest.raises(IndexError, match="counted from 0"):
        mixture.sample(-1)
    with pytest.raises(ValueError, match="at least one sample"):
        mixture.describe(0)
