"""The worked cases of Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation import metric, rouge
from brulee.evaluation.rouge_kinds import kind
from brulee.evaluation.skip_bigrams import skip_bigrams
from brulee.evaluation.weighted_lcs import weighted_length, weighted_positions


def paper(prediction: str, reference: str, name: str) -> rouge.Score:
    return rouge.score(prediction, [reference], [name], stem=False, variant="paper")[name]


@pytest.mark.parametrize(
    ("candidate", "expected"), [("A B C D H I K", 4 / 7), ("A H B K C I D", 2 / 7)]
)
def test_weighted_lcs_prefers_words_that_stand_together(candidate: str, expected: float) -> None:
    # Section 4: both have an LCS of four words; with f(k) = k ** 2 the scores are 0.571 and 0.286.
    assert paper(candidate, "A B C D E F G", "rougeL").f == pytest.approx(4 / 7)
    assert paper(candidate, "A B C D E F G", "rougeW-2").f == pytest.approx(expected)


def test_weight_of_one_is_the_plain_lcs() -> None:
    assert paper("a b x c d", "a y b c d z", "rougeW-1") == pytest.approx(
        paper("a b x c d", "a y b c d z", "rougeL")
    )


def test_identical_texts_score_one_by_every_kind() -> None:
    for name in ("rouge2", "rougeL", "rougeLsum", "rougeW-1.2", "rougeS", "rougeS1", "rougeSU4"):
        assert paper("a b c d", "a b c d", name) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("candidate", "skip", "with_words"),
    [
        ("police kill the gunman", 3 / 6, (3 + 3) / 10),
        ("the gunman kill police", 1 / 6, (1 + 3) / 10),
        ("the gunman police killed", 2 / 6, (2 + 4) / 10),
        ("gunman the killed police", 0.0, (0 + 4) / 10),
    ],
)
def test_skip_bigrams_of_the_four_sentences(candidate: str, skip: float, with_words: float) -> None:
    # Section 5: 0.5, 0.167, 0.333 and 0; with unigrams the last is told from nonsense.
    reference = "police killed the gunman"
    assert paper(candidate, reference, "rougeS").f == pytest.approx(skip)
    assert paper(candidate, reference, "rougeSU").f == pytest.approx(with_words)


def test_gap_counts_the_words_between() -> None:
    assert sorted(skip_bigrams("abcd", 0)) == [("a", "b"), ("b", "c"), ("c", "d")]
    assert ("a", "d") not in skip_bigrams("abcd", 1)
    assert skip_bigrams("abcd", 2) == skip_bigrams("abcd", -1)
    assert skip_bigrams("aab", -1) == {("a", "a"): 1, ("a", "b"): 2}


def test_gap_of_zero_is_bigrams() -> None:
    pair = ("one two three one two", "two three one four")
    assert paper(*pair, "rougeS0") == pytest.approx(paper(*pair, "rouge2"))


def test_union_lcs_is_not_clipped_as_published() -> None:
    # The one "a" of the text covers two lines; clipping counts it once.
    assert paper("a", "a\na", "rougeLsum").recall == 1.0
    assert rouge.score("a", ["a\na"], ["rougeLsum"])["rougeLsum"].recall == 0.5


def test_weighted_alignment_by_hand() -> None:
    assert weighted_length("abc", "abxc", 2) == 4 + 1
    assert weighted_positions("xaby", "abx", 2) == [1, 2]
    assert weighted_length("", "abc", 2) == 0


def test_without_clipping_one_word_repeated_looks_precise() -> None:
    pair = ("the the the the", ["the cat is on the mat"])
    clipped = rouge.score(*pair, ["rouge1"])["rouge1"]
    free = rouge.score(*pair, ["rouge1"], clip=False)["rouge1"]
    assert (clipped.precision, clipped.recall) == (0.5, pytest.approx(2 / 6))
    assert (free.precision, free.recall) == (1.0, pytest.approx(2 / 6))
    skips = rouge.score("a b a b", ["a b"], ["rougeS"], clip=False)["rougeS"]
    assert (skips.precision, skips.recall) == (pytest.approx(3 / 6), 1.0)


def test_alpha_weighs_precision_and_recall() -> None:
    for alpha, expected in ((1.0, 0.5), (0.0, 1.0)):
        found = rouge.score("a b", ["a"], ["rouge1"], alpha=alpha)["rouge1"]
        assert found.f == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rouge0", "rougeW-0", "rougeX", "rouge", "rougeS-1", "rougeW1.2"])
def test_unknown_kind_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown ROUGE type"):
        kind(name)


def test_options_follow_the_type_in_a_metrics_name() -> None:
    found = metric("rougeL:recall:unstemmed:paper")
    assert found.keys == ("rougeL:recall:unstemmed:paper",)
    assert found.statistics("a b", ["a c d e"])[found.keys[0]].tolist() == [0.25]
    assert metric("rouge:recall").keys == ("rouge1:recall", "rouge2:recall", "rougeL:recall")
    assert metric("rougeL:1.5.5:words=2").statistics("a b c", ["a c"])["rougeL:1.5.5:words=2"] < 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rouge1:recal", "did you mean 'recall'"),
        ("rouge1:recall:f", "sets measure a second time"),
        ("rougeS:google", "valid variants: 1.5.5, paper"),
        ("rouge1:words=ten", "words needs a number"),
        ("rouge1:words=10", "variant 1.5.5 only"),
        ("rouge1:1.5.5:unclipped", "always clips"),
        ("rouge1:1.5.5:words=1:bytes=1", "first words or the first bytes"),
        ("rouge1:alpha=2", "between 0 and 1"),
        ("rougeLsum:1.5.5", "one sentence a line"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        metric(name)


def test_characters_score_scripts_without_spaces() -> None:
    pair = ("สวัสดีครับ", ["สวัสดีค่ะ"])
    assert rouge.score(*pair, ["rouge1"], tokenizer="unicode")["rouge1"].f == 0.0
    assert 0.5 < rouge.score(*pair, ["rouge1"], tokenizer="characters")["rouge1"].f < 1.0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"variant": "papers"}, "unknown ROUGE variant 'papers'; did you mean 'paper'"),
        ({"multi": "bset"}, "unknown way to join references 'bset'; did you mean 'best'"),
        ({"tokenizer": "googel"}, "unknown ROUGE tokenizer 'googel'; did you mean 'google'"),
    ],
)
def test_an_unknown_option_is_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        rouge.score("a", ["a"], **options)
