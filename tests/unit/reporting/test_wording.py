import pytest

from brulee.reporting import wording
from brulee.reporting.results import Method


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.24, "8.2 s"), (59.97, "1 min 00 s"), (250, "4 min 10 s"), (3599.6, "1 h 00 min"),
     (7520, "2 h 05 min")],
)  # fmt: skip
def test_durations_carry_over(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.018, "1.8%"), (0.00034, "0.034%"), (0.0, "0%"), (0.256, "26%")],
)
def test_shares_keep_two_digits(share: float, text: str) -> None:
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999_700, "1.00 MB"), (9_780_000, "9.78 MB"), (2.1e9, "2.10 GB")],
)
def test_sizes_change_unit_in_time(count: float, text: str) -> None:
    assert wording.size(count) == text


def test_signed_numbers_have_no_negative_zero() -> None:
    assert wording.signed(-0.001) == "0.00"
    assert wording.signed(-0.051) == "-0.05"
    assert wording.fixed(-0.001) == "0.00"


def test_p_is_never_shown_as_zero() -> None:
    assert wording.p_phrase(0.0) == "p < 0.001"
    assert wording.p_phrase(0.0312) == "p = 0.031"


def test_an_unknown_metric_or_method_keeps_its_own_name() -> None:
    assert wording.metric_name("graded_quality") == "graded quality"
    assert wording.method_name(Method(name="mine")) == "mine"
