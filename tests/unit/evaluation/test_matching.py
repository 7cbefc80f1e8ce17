from __future__ import annotations

import pytest

from brulee.errors import InputError
from brulee.evaluation.matching import ExactMatch, QuasiExactMatch, TokenF1, normalise


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
