"""The bundled data holds what the documentation promises of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from brulee.data.dedup import near_duplicates
from brulee.data.sources import bundled_names, open_source
from brulee.data.templates import library

SIZES = {
    "common-knowledge": 220,
    "general-instructions": 104,
    "other-instructions": 60,
    "plain-prose": 60,
    "product-reviews": 210,
    "support-chats": 216,
}


def rows(name: str) -> list[dict[str, Any]]:
    return list(open_source(f"bundled/{name}"))


def texts(name: str) -> list[str]:
    found: list[str] = []
    for row in rows(name):
        for value in row.values():
            found.extend(value if isinstance(value, list) else [value])
    return [value for value in found if isinstance(value, str)]


def test_sizes_and_unique_ids() -> None:
    assert bundled_names() == sorted(SIZES)
    for name, size in SIZES.items():
        records = rows(name)
        (key,) = [column for column in records[0] if column.endswith("_id")]
        assert len({record[key] for record in records}) == len(records) == size


@pytest.mark.parametrize("name", sorted(SIZES))
def test_texts_are_clean(name: str) -> None:
    for value in texts(name):
        assert value == value.strip() != ""
        assert not re.search(r"Ã|â€|Â|\ufffd|\{\{|\}\}|\|\|\||\*\*|<[a-z/]+>|  ", value), value


def test_support_chats_are_varied_conversations() -> None:
    chats = rows("support-chats")
    assert len(chats) >= 200
    assert len({chat["business"] for chat in chats}) >= 20
    assert sum(chat["summary_2"] is not None for chat in chats) >= 40
    for chat in chats:
        turns = chat["dialogue"].split("\n")
        assert 4 <= len(turns) <= 16, chat["conversation_id"]
        assert all(re.match(r"[^:]{1,40}: \S", turn) for turn in turns), chat["conversation_id"]
        assert len({turn.split(":")[0] for turn in turns}) >= 2
        assert 10 <= len(chat["summary"].split()) <= 60
        assert chat["summary"].endswith(".")
        assert chat["summary_2"] != chat["summary"]


def test_amounts_in_summaries_stand_in_their_dialogues() -> None:
    for chat in rows("support-chats"):
        for summary in filter(None, (chat["summary"], chat["summary_2"])):
            for number in re.findall(r"\d+(?:[.:,]\d+)*", summary):
                assert number in chat["dialogue"], (chat["conversation_id"], number)


def test_reviews_are_balanced_over_the_stars() -> None:
    reviews = rows("product-reviews")
    assert len(reviews) >= 200
    assert set(Counter(review["stars"] for review in reviews).values()) == {len(reviews) // 5}
    assert len({review["title"] for review in reviews}) == len(reviews)
    assert len({review["category"] for review in reviews}) >= 10


def test_general_instructions_ask_nothing_that_a_guard_asks() -> None:
    asked = [row["instruction"] for row in rows("general-instructions")]
    guarded = [row["question"] for row in rows("common-knowledge")]
    guarded += [row["instruction"] for row in rows("other-instructions")]
    assert near_duplicates([*asked, *guarded]) == []


def test_questions_have_four_choices_and_labels_in_balance() -> None:
    questions = rows("common-knowledge")
    assert {len({*question["choices"]}) for question in questions} == {4}
    assert Counter(question["label"] for question in questions) == dict.fromkeys(range(4), 55)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("support-chats", "dialogue"),
        ("support-chats", "summary"),
        ("product-reviews", "body"),
        ("plain-prose", "text"),
        ("common-knowledge", "question"),
        ("general-instructions", "instruction"),
        ("other-instructions", "response"),
    ],
)
def test_no_near_duplicates(name: str, column: str) -> None:
    assert near_duplicates([row[column] for row in rows(name)]) == []


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("dialogue-summary", "support-chats"),
        ("review-rating", "product-reviews"),
        ("review-writing", "product-reviews"),
        ("review-summary", "product-reviews"),
        ("common-knowledge", "common-knowledge"),
    ],
)
def test_every_library_template_renders_every_bundled_row(family: str, name: str) -> None:
    for template in library()[family]:
        for row in rows(name):
            result = template.render(row)
            assert result is not None
            assert result.completion
            if result.choices:
                assert result.completion in result.choices
