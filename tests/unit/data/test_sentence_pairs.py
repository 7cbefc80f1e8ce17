"""Sentence pairs are told by columns or fields that are named after two languages."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.sentence_pairs import Side, pair_in

EN, FR = "The dog sleeps.", "Le chien dort."


def told(*rows: dict[str, Any]) -> list[tuple[str, str]] | None:
    sides = pair_in(rows)
    return sides and [(side.source, side.language) for side in sides]


@pytest.mark.parametrize(
    ("columns", "languages"),
    [
        (("en", "fr"), ("English", "French")),
        (("fra", "eng"), ("French", "English")),
        (("zh-CN", "en_XX"), ("Chinese", "English")),
        (("eng_Latn", "fra_Latn"), ("English", "French")),
        (("sentence_eng_Latn", "sentence_deu_Latn"), ("English", "German")),
        (("English words/sentences", "French words/sentences"), ("English", "French")),
        (("src_en", "text_cs"), ("English", "Czech")),
        (("id", "en"), ("Indonesian", "English")),
    ],
)
def test_columns_named_after_two_languages_are_a_pair(
    columns: tuple[str, str], languages: tuple[str, str]
) -> None:
    row = dict(zip(columns, (EN, FR), strict=True)) | {"score": 0.9}
    assert told(row) == list(zip(columns, languages, strict=True))


@pytest.mark.parametrize("name", ["answer", "Label", "summary"])
def test_what_is_written_about_both_texts_makes_them_no_pair(name: str) -> None:
    assert told({"question_en": EN, "question_fr": FR, name: "yes"}) is None


def test_fields_of_one_column_are_a_pair_even_where_a_row_has_none() -> None:
    rows = [
        {"id": "1", "translation": {"de": "Hund", "en": "dog"}},
        {"id": "2", "translation": None},
        {"id": "3", "translation": {"de": None, "en": "cat"}},
    ]
    assert told(*rows) == [("translation.de", "German"), ("translation.en", "English")]
    sides = pair_in(rows)
    assert sides is not None
    assert [[side.of(row) for side in sides] for row in rows] == [
        ["Hund", "dog"], [None, None], [None, "cat"],
    ]  # fmt: skip
    assert sides[0] == Side("translation", "de", "German")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "row-7", "en": EN},  # a number of the row, not Indonesian
        {"no": "7", "is": "8"},
        {"en": EN},
        {"en": EN, "fr": FR, "de": "Der Hund schläft."},
        {"question_en": EN, "answer_en": FR},
        {"en": 1, "fr": 2},
        {"en": "1", "fr": "2"},
        {"english_or_french": EN, "text": FR},
        {"translation": {"en": EN, "note": FR}},
        {"translation": {"en": EN, "fr": FR, "de": "Der Hund schläft."}},
        {"translation": {"en": [EN], "fr": [FR]}},
        {"translation": [{"en": EN, "fr": FR}]},
        {"speech": "en", "text": EN},
    ],
)
def test_other_rows_are_no_pair(row: dict[str, Any]) -> None:
    assert told(row) is None


def test_no_rows_are_no_pair() -> None:
    assert pair_in([]) is None
