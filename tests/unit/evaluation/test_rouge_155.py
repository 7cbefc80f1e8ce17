"""ROUGE-1.5.5 against what the Perl script printed (tests/fixtures/rouge_155/record.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation import rouge, rouge_155
from brulee.evaluation.rouge_155_report import report, totals
from brulee.evaluation.rouge_155_stem import porter, stemmed
from brulee.evaluation.rouge_155_text import Reading, read
from brulee.evaluation.rouge_kinds import kind

FIXTURE = Path(__file__).parents[2] / "fixtures" / "rouge_155"
TEXTS = json.loads((FIXTURE / "texts.json").read_text(encoding="utf-8"))
RECORDED = json.loads((FIXTURE / "scores.json").read_text())
MEASURES = {"Average_R": "recall", "Average_P": "precision", "Average_F": "f"}


def value(options: list[str], flag: str, default: Any) -> Any:
    return type(default)(options[options.index(flag) + 1]) if flag in options else default


def items_of(name: str, options: list[str]) -> list[rouge_155.Item]:
    reading = Reading(
        "-m" in options, "-s" in options, value(options, "-l", 0), value(options, "-b", 0)
    )
    kind_ = kind(name.replace("ROUGE-", "rouge").replace("*", ""))
    formula, alpha = value(options, "-f", "A"), value(options, "-p", 0.5)
    return [
        rouge_155.score(t["prediction"], t["references"], kind_, reading, formula, alpha)
        for t in TEXTS
    ]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: " ".join(r["options"]))
def test_every_number_that_the_perl_script_printed(recorded: dict[str, Any]) -> None:
    options = recorded["options"]
    by_token = value(options, "-t", 0)
    printed: dict[str, list[list[Any]]] = {}
    for name, *line in recorded["printed"]:
        printed.setdefault(name, []).append(line)
    for name, lines in printed.items():
        items = items_of(name, options)
        alpha = value(options, "-p", 0.5)
        averages = report(
            items, by_token == 1, alpha, value(options, "-c", 95.0), value(options, "-r", 1000)
        )
        for what, *numbers in lines:
            if what == "counts":
                found: tuple[float, ...] = totals(items)
            elif what in MEASURES:
                found = getattr(averages, MEASURES[what])
            else:
                item = items[what - 1]
                found = (item.recall, item.precision, item.f)
                found = (item.wanted, item.given, item.hits) if by_token else found
            assert found == pytest.approx(numbers, abs=1e-9), (name, what)


def test_fixture_holds_more_than_ten_option_sets() -> None:
    assert len(RECORDED) >= 10
    assert sum(len(one["printed"]) for one in RECORDED) > 1500


def test_weighted_recall_is_weighed_twice() -> None:
    same = rouge_155.score("w x y z", ["w x y z"], kind("rougeW-1.2"))
    assert (same.recall, same.precision) == (0.75786, 1.0)


def test_last_word_is_missing_from_skip_bigrams_with_unigrams() -> None:
    assert rouge_155.score("w x y z", ["w x y z"], kind("rougeSU")).wanted == 9


def test_best_reference_is_the_one_with_the_best_recall() -> None:
    found = rouge_155.score("a b c", ["a", "a b c d"], kind("rouge1"), formula="B")
    assert (found.recall, found.precision) == (1.0, 0.33333)
    as_metric = rouge.score("a b c", ["a", "a b c d"], ["rouge1"], variant="1.5.5", multi="best")
    assert as_metric["rouge1"].precision == 0.33333


@pytest.mark.parametrize(
    ("word", "stem"),
    [("commissioner", "commiss"), ("agreement", "agreem"), ("children", "child"), ("was", "was"),
     ("yellowing", "yellow"), ("skies", "ski"), ("relational", "relat"), ("hopping", "hop")],
)  # fmt: skip
def test_stems_of_the_script(word: str, stem: str) -> None:
    assert stemmed(word) == stem


def test_irregular_forms_come_before_the_rules() -> None:
    assert (stemmed("wolves"), porter("wolves")) == ("wolf", "wolv")


def test_a_limit_in_bytes_counts_all_sentences_for_grams_and_each_alone_for_lcs() -> None:
    text = read("one two\nthree four", Reading(bytes=10))
    assert text.tokens == ["one", "two", "thr"]
    assert text.sentences == [["one", "two"], ["three", "four"]]


def test_empty_predictions_have_a_precision_of_zero_by_token() -> None:
    items = [rouge_155.score("", ["one two"], kind("rouge1"))] * 2
    assert report(items, by_token=True).precision == (0.0, 0.0, 0.0)


def test_letters_outside_ascii_separate_words() -> None:
    assert read("Brûlée", Reading()).tokens == ["br", "l", "e"]


def test_lsum_and_unknown_words_are_refused() -> None:
    with pytest.raises(InputError, match="no rougeLsum"):
        rouge_155.score("a", ["a"], kind("rougeLsum"))
    with pytest.raises(InputError, match="its own words"):
        rouge.score("a", ["a"], variant="1.5.5", tokenizer="unicode")
