"""Mean win rate by hand: ties, directions, models that lack a score."""

import pytest

from brulee.evaluation.win_rate import Column, mean_win_rates, win_rates


def test_the_share_of_others_beaten_a_tie_counting_half() -> None:
    rates = win_rates(Column({"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1}))
    assert rates == {"a": 1.0, "b": pytest.approx(0.5), "c": pytest.approx(0.5), "d": 0.0}


def test_less_is_more_where_it_should_be() -> None:
    assert win_rates(Column({"a": 0.9, "b": 0.5}, higher_is_better=False)) == {"a": 0.0, "b": 1.0}


def test_a_score_of_one_model_compares_nothing_and_the_rest_is_averaged() -> None:
    columns = [
        Column({"a": 0.9, "b": 0.5, "c": 0.1}),
        Column({"a": 0.2, "b": 0.4}),
        Column({"c": 0.8}),
    ]
    expected = {"a": (1 + 0) / 2, "b": (0.5 + 1) / 2, "c": 0.0}
    assert mean_win_rates(columns) == pytest.approx(expected)
    assert mean_win_rates([Column({"a": 1.0})]) == {}
