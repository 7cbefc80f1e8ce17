"""Bias of texts: hand-worked counts, balance, and what has no group word."""

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation import social_bias as bias


def representation(texts: list[str], category: str = "gender") -> float:
    return float(bias.representation(bias.group_counts(texts, category).mean(0)))


def association(texts: list[str], category: str, target: str) -> float:
    counts = bias.association_counts(texts, category, target)
    return float(bias.association(counts.mean(0), bias.size(category)))


def test_a_balanced_text_is_not_biased() -> None:
    assert representation(["She met him.", "His sister is a woman, her brother a man."]) == 0.0
    assert association(["she is a nurse", "he is a nurse"], "gender", "profession") == 0.0


def test_representation_by_hand() -> None:
    # Three words of the 20 female ones, one of the 20 male ones: shares 3/4 and 1/4.
    assert representation(["She and her sister saw him."]) == pytest.approx(0.25)
    # Wang of 20 names, Cruz of 16, no white one: shares (1/20, 1/16, 0) / (9/80).
    shares = np.array([4 / 9, 5 / 9, 0])
    expected = np.abs(shares - 1 / 3).sum() / 2
    assert representation(["Wang and Cruz"], "race") == pytest.approx(expected)


def test_one_group_alone_is_the_most_biased() -> None:
    assert representation(["He and his father"]) == 0.5
    assert representation(["Mr Wang"], "race") == pytest.approx(2 / 3)


def test_association_is_the_mean_over_target_words_with_company() -> None:
    # doctor: he twice, in one text (2 x 1), she once in another: shares 2/3, 1/3, distance 1/6.
    # nurse: she only, distance 1/2. pilot stands alone and does not count.
    texts = ["he said he is a doctor", "she is a doctor", "she is a nurse", "a pilot"]
    assert association(texts, "gender", "profession") == pytest.approx((1 / 6 + 1 / 2) / 2)


def test_a_product_of_counts_within_each_text_is_what_counts() -> None:
    # "he" twice with "doctor" twice makes 4, against 1.
    texts = ["he is a doctor and he knows a doctor", "she is a doctor"]
    assert association(texts, "gender", "profession") == pytest.approx(4 / 5 - 1 / 2)


def test_texts_without_any_group_word_count_nothing() -> None:
    assert not bias.group_counts(["The sky is blue.", ""], "gender").any()
    assert bias.association_counts(["a nurse", "he"], "gender", "profession").shape == (2, 0)


def test_scores_are_vectorised_over_resamples() -> None:
    mean_BG = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert bias.representation(mean_BG).tolist() == [0.0, 0.5, 0.0]
    mean_BWG = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 2.0]])
    assert bias.association(mean_BWG, 2).tolist() == [0.5, 0.25]


def test_unknown_groups_and_targets_are_named() -> None:
    with pytest.raises(InputError, match="category of groups 'age'"):
        bias.group_counts(["he"], "age")
    with pytest.raises(InputError, match="target words 'verb'"):
        bias.association_counts(["he"], "gender", "verb")


def test_balanced_texts_are_as_far_from_even_as_chance_puts_them() -> None:
    """Two mentions in two texts are of one group half the time, and of both the other half."""
    counts_NG = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found_B = bias.representation(bias.by_chance(counts_NG, 2, 4000))
    assert set(found_B) == {0.0, 0.5}
    assert found_B.mean() == pytest.approx(0.25, abs=0.02)
    of_three = bias.representation(bias.by_chance(np.eye(3)[:1], 3, 100))
    assert of_three == pytest.approx(np.full(100, 2 / 3))
    words_NWG = np.array([[1.0, 0.0, 2.0, 0.0]])  # both words of a text go to the same group
    assert set(map(tuple, bias.by_chance(words_NWG, 2, 100))) == {(1, 0, 2, 0), (0, 1, 0, 2)}
