"""Rates: T5's order of scale, cap and temperature, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.rates import Rates, shares
from brulee.errors import InputError

FLAN_ROWS = {"snli": 30_000, "rte": 2_490, "cb": 250}
NO_WEIGHTS = dict.fromkeys(FLAN_ROWS)


def rates(rule: Rates, **weights: float) -> list[float]:
    return rule.of("mix", FLAN_ROWS, NO_WEIGHTS | weights)


def test_flan_caps_the_rate_at_3000() -> None:
    capped = rates(Rates(rate_cap=3_000))
    assert capped == [3_000, 2_490, 250]
    # 3000 + 2490 + 250 = 5740
    assert shares(capped) == pytest.approx([0.52265, 0.43380, 0.04355], abs=5e-6)


def test_without_a_cap_rates_are_the_rows() -> None:
    assert rates(Rates()) == [30_000, 2_490, 250]


def test_temperature_comes_after_the_cap() -> None:
    # min(10000, 400) = 400, then square roots 20 and 10; the other order would give 100 and 10.
    rule = Rates(rate_cap=400, temperature=2)
    drawn = rule.of("mix", {"large": 10_000, "small": 100}, {"large": None, "small": None})
    assert drawn == pytest.approx([20, 10])
    assert shares(drawn) == pytest.approx([2 / 3, 1 / 3])


def test_the_cap_comes_after_the_scale() -> None:
    # 30000, 2490 and 250 times 0.1 are 3000, 249 and 25; the other order would give 100, 100, 25.
    assert rates(Rates(rate_cap=1_000, scale=0.1)) == pytest.approx([1_000, 249, 25])


def test_a_high_temperature_comes_near_equal_rates() -> None:
    assert shares(rates(Rates(temperature=1e6))) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_equal_and_weights_do_not_look_at_the_rows() -> None:
    assert rates(Rates("equal")) == [1, 1, 1]
    assert rates(Rates("weights"), snli=4, rte=3, cb=0.5) == [4, 3, 0.5]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "proportionl"}, "did you mean 'proportional'"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": 0.5}, "temperature is 0.5; 1 keeps"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"rate_cap": 0}, "rate_cap is 0"),
        ({"rate_cap": -3.0}, "rate_cap is -3.0"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"kind": "equal", "temperature": 2}, "'equal' uses no rate_cap"),
        ({"kind": "weights", "rate_cap": 1.0}, "'weights' uses no rate_cap"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Rates(**wrong)


def test_a_missing_an_unused_and_a_negative_weight_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="mix: 'cb' has no weight"):
        rates(Rates("weights"), snli=1, rte=1)
    with pytest.raises(InputError, match="mix: 'rte' has a weight, which 'equal'"):
        rates(Rates("equal"), rte=1)
    with pytest.raises(InputError, match="mix: the weight of 'rte' is -1"):
        rates(Rates("weights"), snli=1, rte=-1, cb=1)


def test_rates_past_every_number_are_refused() -> None:
    with pytest.raises(InputError, match="mix: the rate of 'snli', its rows times"):
        rates(Rates(scale=1e308))
    with pytest.raises(InputError, match="their sum is not finite"):
        shares(rates(Rates(scale=1e308, rate_cap=1e308)))
