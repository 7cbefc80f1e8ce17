"""Near-duplicates: found whatever the spelling, and only above the threshold."""

from __future__ import annotations

import random

import pytest

from brulee.data.dedup import jaccard, near_duplicates, shingles


def text(seed: int, words: int = 80) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5_000)}" for _ in range(words)]


def test_copies_with_another_word_case_and_punctuation_are_found() -> None:
    words = text(0)
    changed = [*words[:79], "another"]
    texts = [" ".join(text(1)), " ".join(words), ", ".join(changed).upper(), " ".join(text(2))]
    ((i, j, similarity),) = near_duplicates(texts)
    assert (i, j) == (1, 2)
    assert similarity == pytest.approx(75 / 77)


def test_the_similarity_is_exact_and_the_threshold_is_kept() -> None:
    words = text(0)
    texts = [" ".join(words), " ".join([*words[:70], *text(9, 10)])]
    exact = 66 / (76 * 2 - 66)
    assert jaccard(*map(shingles, texts)) == pytest.approx(exact)
    assert near_duplicates(texts, threshold=0.8) == []
    assert near_duplicates(texts, threshold=0.7) == [(0, 1, pytest.approx(exact))]


def test_every_pair_of_a_cluster_is_found_among_many() -> None:
    originals = [text(seed) for seed in range(60)]
    copies = [[*words[:40], "x", *words[41:]] for words in originals[:20]]
    texts = [" ".join(words) for words in originals + copies]
    found = {(i, j) for i, j, _ in near_duplicates(texts)}
    assert found == {(i, 60 + i) for i in range(20)}


def test_texts_of_fewer_than_five_words_are_linked_only_if_they_read_the_same() -> None:
    assert near_duplicates(["Yes,  sir!", "yes, sir!", "yes sir", "", "..."]) == [(0, 1, 1.0)]
    assert near_duplicates(["What is 5 - 3?", "What is 5 + 3?"]) == []
    assert near_duplicates(["no", "no no no no no"]) == []
    assert near_duplicates([]) == []


def test_a_threshold_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], threshold=0)
