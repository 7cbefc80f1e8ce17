from typing import Any

import pytest

from brulee.reporting import wording
from brulee.reporting.results import Method, Training


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


def test_a_method_is_called_by_its_label_unless_that_names_no_method() -> None:
    assert wording.method_name(Method(name="lora", label="DoRA r4")) == "DoRA r4"
    assert wording.method_name(Method(name="selective", label="norms only")) == "Selective tuning"


@pytest.mark.parametrize(
    ("went", "text"),
    [
        ({}, "all 90 steps completed; the weights are from the last step, 90"),
        (
            {"best_step": 80, "best_validation_loss": 0.23694, "kept_step": 80},
            "all 90 steps completed; the weights are from step 80, which had the lowest validation "
            "loss (0.2369)",
        ),
        (
            {"planned_steps": 1200, "stopped_early": True, "best_step": 80,
             "best_validation_loss": 0.2},
            "stopped early after 90 of 1,200 steps; the weights are from the last step, 90, "
            "though step 80 had the lowest validation loss (0.2000)",
        ),
        (
            {"skipped_steps": 1, "loss_spikes": 2, "out_of_memory": 1},
            "all 90 steps completed; the weights are from the last step, 90; 1 non-finite step "
            "skipped; 2 loss spikes; memory ran out, so passes were made smaller",
        ),
    ],
)  # fmt: skip
def test_a_training_says_how_it_ended_and_whose_weights_it_left(
    went: dict[str, Any], text: str
) -> None:
    values = {"steps": 90, "planned_steps": 90, "kept_step": 90, **went}
    assert wording.training(Training.model_validate(values)) == text
