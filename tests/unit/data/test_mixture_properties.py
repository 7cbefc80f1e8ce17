"""Whatever the tasks and rates: a period has its stated draws, an epoch every row once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brulee.data.mixture import Draw, Mixture
from brulee.data.parts import Group, Part
from brulee.data.rates import Rates

PERIOD = 800
CAPS = st.none() | st.integers(1, 40)
PARTS = st.lists(st.tuples(st.integers(1, 60), CAPS, st.floats(0.5, 5.0)), min_size=1, max_size=4)
RATES = st.one_of(
    st.builds(
        Rates,
        st.just("proportional"),
        st.none() | st.floats(1, 50),
        st.floats(1, 5),
        st.floats(0.5, 3),
    ),
    st.just(Rates("equal")),
    st.just(Rates("weights")),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(PARTS, RATES), min_size=2, max_size=3), RATES, st.integers(0, 9))
def test_a_mixture_draws_what_its_rates_caps_and_temperature_say(
    groups: list[tuple[list[tuple[int, int | None, float]], Rates]], rates: Rates, seed: int
) -> None:
    root, stated = _mixture(groups, rates)
    mixture = Mixture(root, seed, PERIOD)
    assert mixture.shares == pytest.approx(stated)
    draws = [mixture.sample(i) for i in range(PERIOD)]
    of_part: dict[str, list[Draw]] = {path: [] for path in stated}
    for at, draw in enumerate(draws, start=1):
        of_part[draw.part].append(draw)
        # Rounded to the slots of a period, and a draw more or less on the way.
        assert abs(len(of_part[draw.part]) - at * stated[draw.part]) < 3
    for path, found in of_part.items():
        assert abs(len(found) - PERIOD * stated[path]) < 1
        part = mixture.parts[path]
        epochs = [found[i : i + len(part)] for i in range(0, len(found), len(part))]
        used = {draw.row for draw in epochs[0]}
        for number, epoch in enumerate(epochs):
            assert {draw.epoch for draw in epoch} == {number}
            assert len({draw.row for draw in epoch}) == len(epoch)
            assert {draw.row for draw in epoch} <= used | (set() if number else set(part.rows))
        assert all(draw.template < part.templates for draw in found)
    # Taken up in the middle of an epoch it goes on as it would have.
    middle = PERIOD // 3
    again = Mixture(_mixture(groups, rates)[0], seed, PERIOD)
    assert [again.sample(i) for i in range(middle, PERIOD)] == draws[middle:]
    counted = {line.part: line.draws for line in mixture.describe(middle)}
    assert counted == {path: sum(draw.part == path for draw in draws[:middle]) for path in of_part}


def _mixture(groups: Any, rates: Rates) -> tuple[Group, dict[str, float]]:
    """A mixture of mixtures, and the share of each task by the rule as docs/data.md has it."""
    members, shares = [], {}
    inner = [_shares(rule, [(_used(n, cap), w) for n, cap, w in parts]) for parts, rule in groups]
    sizes = [(sum(_used(n, cap) for n, cap, _ in parts), 1.0 + at) for at, (parts, _) in
             enumerate(groups)]  # fmt: skip
    for at, ((parts, rule), share) in enumerate(zip(groups, _shares(rates, sizes), strict=True)):
        weighed = rule.kind == "weights"
        inside = [Part(f"t{n}", range(100, 100 + rows), 3, weight if weighed else None, cap)
                  for n, (rows, cap, weight) in enumerate(parts)]  # fmt: skip
        outer = sizes[at][1] if rates.kind == "weights" else None
        members.append(Group(f"g{at}", inside, rule, outer))
        shares |= {f"g{at}/t{n}": share * part for n, part in enumerate(inner[at])}
    return Group("mix", members, rates), shares


def _used(rows: int, cap: int | None) -> int:
    return rows if cap is None else min(rows, cap)


def _shares(rule: Rates, members: list[tuple[int, float]]) -> list[float]:
    if rule.kind == "equal":
        found = [1.0 for _ in members]
    elif rule.kind == "weights":
        found = [weight for _, weight in members]
    else:
        most = rule.rate_cap or float("inf")
        found = [min(rows * rule.scale, most) ** (1 / rule.temperature) for rows, _ in members]
    return [rate / sum(found) for rate in found]
