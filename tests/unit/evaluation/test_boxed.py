r"""Boxed answers are found whatever is in them, and compared as numbers or as LaTeX."""

from __future__ import annotations

import pytest

from brulee.evaluation import METRICS
from brulee.evaluation.boxed import boxed, normalised, same_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"So $x = \boxed{5}$.", "5"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\fbox{(1, 2)}", "(1, 2)"),
        (r"\boxed{\{1, 2\}} is the set", r"\{1, 2\}"),
        (r"\boxed{\binom{1\\{2}}{3}}", r"\binom{1\\{2}}{3}"),  # a line break, then a group
        (r"$\boxed 7$ apples", "7"),
        (r"So $\boxed 3.5$.", "3.5"),
        (r"\boxed{\text{yes}", None),
        ("no box", None),
        (r"\boxed", None),
    ],
)
def test_the_last_box_is_found_with_its_braces(text: str, expected: str | None) -> None:
    assert boxed(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "5.0"),
        ("0.5", r"\frac{1}{2}"),
        (r"\frac12", "1/2"),
        (r"\dfrac{2}{4}", r"\tfrac12"),
        (r"-\frac{1}{2}", "-.5"),
        (r"\frac{-1}{2}", "-1/2"),
        ("1,234", "1234"),
        ("1{,}234", "1234.00"),
        (r"\$5", "5"),
        (r"50\%", "50"),
        (r"90^\circ", r"90^{\circ}"),
        (r"5\text{ cm}", "5"),
        (r"12\mathrm{cm}^2", "12"),
        (r"x = 3", "3"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\text{Friday}.", "Friday"),
        (r"\(x^2 + 1\)", "x^2+1"),
        (r"\frac{\pi}2", r"\frac{\pi}{2}"),
        (r"\frac{1+\sqrt{5}}2", r"\frac{1+\sqrt{5}}{2}"),
        (r"\frac1x", r"\frac{1}{x}"),
        (r"5\ \text{m/s}", "5"),
        (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", r"\begin{pmatrix}1\\-2\end{pmatrix}"),
        (r"2\mathrm{i}", "2i"),
    ],
)
def test_what_is_written_differently_and_means_the_same_is_equal(one: str, other: str) -> None:
    assert same_answer(one, other)
    assert same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "-5"),
        ("0.33", r"\frac{1}{3}"),
        ("(1,2)", "(2,1)"),
        ("1,2", "12"),
        ("12,34", "1234"),
        (r"\frac{1}{0}", r"\frac{2}{0}"),
        ("x+1", "1+x"),
        ("", "0"),
        ("a=b=3", "3"),
        ("y+x=3", "y+3"),
        ("9" * 200, "9" * 199 + "8"),
        (r"\text{even}", r"\text{odd}"),
    ],
)
def test_other_answers_differ(one: str, other: str) -> None:
    assert not same_answer(one, other)


def test_normalising_again_changes_nothing() -> None:
    for text in (r"\dfrac12", r"\left(\frac{a}{b}\right)", "1,000", r"y=\sqrt3", r"7\text{ km}"):
        assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        (r"Adding, \boxed{7}.", r"We add and get \boxed{7}", 1),
        ("The answer is 7.", r"We add and get $\boxed{7}$", 1),
        (r"\boxed{\frac{1}{2}}", "0.5", 1),
        (r"\boxed{7}, no: \boxed{8}", r"\boxed{7}", 0),
        ("7 and then 8", r"\boxed{7}", 0),
    ],
)
def test_the_metric_compares_the_last_box_or_final_answer(
    prediction: str, reference: str, score: float
) -> None:
    found = METRICS["boxed_answer"].statistics(prediction, [r"\boxed{99}", reference])
    assert found["boxed_answer"].tolist() == [score]
