from __future__ import annotations

import json
from pathlib import Path

import pytest

from brulee.data.templates import library
from brulee.errors import InputError
from brulee.evaluation.matching import (
    ExactMatch,
    FinalAnswer,
    QuasiExactMatch,
    TokenF1,
    final_answer,
    normalise,
)

ROWS = Path(__file__).parents[2] / "fixtures" / "library_rows"


def test_normalising_drops_case_punctuation_articles_and_spaces() -> None:
    assert normalise("  The Cat's\n on A  mat. An anthem!") == "cats on mat anthem"


@pytest.mark.parametrize(
    ("prediction", "exact", "quasi"),
    [(" Paris \n", 1.0, 1.0), ("the Paris!", 0.0, 1.0), ("paris", 0.0, 1.0), ("Pari", 0.0, 0.0)],
)
def test_quasi_exact_forgives_what_exact_does_not(
    prediction: str, exact: float, quasi: float
) -> None:
    assert ExactMatch().statistics(prediction, ["Paris"])["exact_match"].tolist() == [exact]
    found = QuasiExactMatch().statistics(prediction, ["Paris"])["quasi_exact_match"]
    assert found.tolist() == [quasi]


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("the cat sat", "a cat sat down", 4 / 5),
        ("cat cat cat", "cat", 1 / 2),
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", "", 1.0),
        ("the", "a!", 1.0),
    ],
)
def test_token_f1_counts_shared_words(prediction: str, reference: str, expected: float) -> None:
    found = TokenF1().statistics(prediction, [reference])["token_f1"]
    assert found.tolist() == [pytest.approx(expected)]


def test_best_reference_counts() -> None:
    assert TokenF1().statistics("cat", ["dog", "cat", "bird"])["token_f1"].tolist() == [1.0]


def test_missing_reference_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        ExactMatch().statistics("cat", [])


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("6*8=48, and 48-10=38.\nSo the answer is 38.", 1.0),
        ("The first answer is 3. No: 48-10=38\nSo the answer is 38", 1.0),
        ("38", 1.0),
        ("38 candles are left.", 0.0),
        ("6*8=48.\nSo the answer is 48.", 0.0),
    ],
)
def test_an_answer_after_other_reasoning_is_the_same_answer(
    prediction: str, expected: float
) -> None:
    reference = "Olga packs 6*8=48 candles.\nAfter the sale, 38 are left.\nSo the answer is 38."
    found = FinalAnswer().statistics(prediction, [reference])["final_answer"]
    assert found.tolist() == [expected]


def test_every_reasoning_template_of_the_library_ends_in_its_answer() -> None:
    for name, family in library().items():
        rows = ROWS / f"{name}.jsonl"
        for template in family:
            if template.metadata.rationale:
                row = json.loads(rows.read_text(encoding="utf-8").splitlines()[0])
                rendered = template.render(row)
                assert rendered is not None
                answer = final_answer(rendered.completion)
                assert 0 < len(answer) < 30, (name, template.name)
                assert rendered.completion.endswith(f"answer is {answer}."), template.name
