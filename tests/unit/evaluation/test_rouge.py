from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation import rouge, rouge_text, words


def test_counts_are_clipped_and_divided_by_the_right_side() -> None:
    score = rouge.score("a a a b", ["a a c"], ["rouge1"], stem=False)["rouge1"]
    assert score == pytest.approx((2 / 4, 2 / 3, 4 / 7))


def test_bigrams_in_another_order_do_not_match() -> None:
    scores = rouge.score("one two three", ["three one two"], ["rouge1", "rouge2", "rougeL"])
    assert [s.f for s in scores.values()] == pytest.approx([1.0, 0.5, 2 / 3])


def test_line_breaks_matter_to_rouge_lsum_only() -> None:
    scores = rouge.score("one two\nthree four", ["three four\none two"], ["rougeL", "rougeLsum"])
    assert scores["rougeL"].f == pytest.approx(0.5)
    assert scores["rougeLsum"].f == 1.0


def test_union_lcs_gives_the_worked_example_of_the_paper() -> None:
    # Lin 2004, section 3.2: the union of w1 w2 and w1 w3 w5 covers 4 of 5 reference words.
    score = rouge.score("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", ["w1 w2 w3 w4 w5"], ["rougeLsum"])
    assert score["rougeLsum"].recall == pytest.approx(4 / 5)


def test_stemming_joins_inflections_and_can_be_switched_off() -> None:
    assert rouge.score("refunding orders", ["refunded order"], ["rouge1"])["rouge1"].f == 1.0
    plain = rouge.score("refunding orders", ["refunded order"], ["rouge1"], stem=False)
    assert plain["rouge1"].f == 0.0


def test_words_of_three_letters_are_not_stemmed() -> None:
    assert [words.stemmed(w) for w in ("was", "dogs", "naïvely")] == ["was", "dog", "naïvely"]


def test_mean_over_references_averages_precision_recall_and_f() -> None:
    score = rouge.score("a b", ["a b", "a c d e"], ["rouge1"], multi="mean")["rouge1"]
    assert score == pytest.approx(((1 + 1 / 2) / 2, (1 + 1 / 4) / 2, (1 + 1 / 3) / 2))


def test_best_reference_is_chosen_type_by_type() -> None:
    references = ["b a d c", "a b"]  # the first wins on words, the second on bigrams
    scores = rouge.score("a b c d", references, ["rouge1", "rouge2"], stem=False)
    assert (scores["rouge1"].recall, scores["rouge2"].recall) == (1.0, 1.0)
    assert scores["rouge2"].precision == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Die Straße – ÜBER", ["die", "strasse", "über"]),
        ("日本語 OK", ["日", "本", "語", "ok"]),
        ("カタカナとﾊﾝｶｸ", list("カタカナとハンカク")),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301", ["café"]),
        ("привет, мир!", ["привет", "мир"]),
        ("snake_case 3.5", ["snake", "case", "3", "5"]),
        ("", []),
    ],
)
def test_unicode_tokenizer_keeps_words_of_every_script(text: str, expected: list[str]) -> None:
    assert words.unicode(text) == expected


def test_unicode_tokenizer_scores_what_google_scores_zero() -> None:
    pair = ("привет мир", ["привет всем"])
    assert rouge.score(*pair, ["rouge1"])["rouge1"].f == 0.0
    assert rouge.score(*pair, ["rouge1"], tokenizer="unicode")["rouge1"].f == pytest.approx(0.5)


def test_both_tokenizers_agree_on_ascii() -> None:
    text = "".join(map(chr, range(128))) + " It's a_b 3.5 Running-late"
    assert words.unicode(text) == words.google(text)


def test_metric_statistics_are_the_f_of_each_key() -> None:
    stats = rouge.Rouge().statistics("one two three", ["three one two"])
    assert {key: list(value) for key, value in stats.items()} == {
        "rouge1": [1.0],
        "rouge2": [0.5],
        "rougeL": [pytest.approx(2 / 3)],
    }


def test_metric_score_is_the_mean_of_items() -> None:
    metric = rouge.Rouge()
    assert metric.item("rouge1", np.array([0.25])) == 0.25
    assert metric.reduce("rouge1", np.array([[0.25], [0.75]]), 3.0).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"types": ["rougeLSum"]}, "did you mean 'rougeLsum'"),
        ({"types": ["rouge0"]}, "unknown ROUGE type 'rouge0'"),
        ({"multi": "first"}, "Valid: best, mean"),
        ({"tokenizer": "unicod"}, "did you mean 'unicode'"),
    ],
)
def test_unknown_option_names_the_valid_ones(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        rouge.score("a", ["a"], **options)


def test_a_full_table_of_words_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"a{i} b{i} c{i}", f"a{i} c{i} d{i}") for i in range(20)]
    expected = [rouge.score(p, [r]) for p, r in pairs]
    monkeypatch.setattr(rouge_text, "_FULL", 5)
    assert [rouge.score(p, [r]) for p, r in pairs] == expected


def test_missing_references_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        rouge.score("a", [])
    with pytest.raises(InputError, match="list of texts"):
        rouge.score("a", "a")
