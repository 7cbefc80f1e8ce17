"""A faulty question of the bundled guards fails here: what gives the answer away, what repeats."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from brulee.data.sources import open_source

# Words that most questions are made of: what they share says nothing of what is asked.
COMMON = """a an and are as be by call called do does for from give have how i in is it list many
    name of on one or say that the their these they this to was what which who with
    word write you"""


def questions() -> list[dict[str, Any]]:
    return list(open_source("bundled/common-knowledge"))


def requests(source: str) -> list[tuple[str, str]]:
    return [(row["instruction"], row["response"]) for row in open_source(source)]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def topic(text: str) -> set[str]:
    return words(text) - set(COMMON.split())


def given_away(row: dict[str, Any]) -> set[str]:
    """Words of the question that the right answer has and no other."""
    right = row["choices"][row["label"]]
    others = set().union(*(words(c) for c in row["choices"] if c != right))
    return topic(row["question"]) & words(right) - others


def too_unlike(choices: Sequence[str]) -> bool:
    """Whether the lengths of choices tell them apart at a glance."""
    sizes = [len(choice) for choice in choices]
    return max(sizes) > 2 * min(sizes) + 6


def share(rows: Iterable[dict[str, Any]], most: Any) -> float:
    """How often the choice of the greatest (or least) length is right; equal ones share."""
    found = []
    for row in rows:
        sizes = [len(choice) for choice in row["choices"]]
        first = most(sizes)
        found.append((sizes[row["label"]] == first) / sizes.count(first))
    return sum(found) / len(found)


def taught(pair: tuple[str, str], asked: tuple[str, str]) -> bool:
    """Whether a question and its answer teach what another asks."""
    question, answer = (topic(text) for text in pair)
    within = len(question & topic(asked[0])) / max(1, len(question))
    return within >= 0.5 and bool(answer) and answer <= topic(asked[1])


def test_the_right_answers_are_spread_over_the_positions_in_every_field() -> None:
    rows = questions()
    assert Counter(row["label"] for row in rows) == dict.fromkeys(range(4), len(rows) // 4)
    fields = Counter(row["subject"] for row in rows)
    assert set(fields.values()) == {len(rows) // 10}
    for field, size in fields.items():
        found = Counter(row["label"] for row in rows if row["subject"] == field)
        assert all(size // 4 <= found[label] <= math.ceil(size / 4) for label in range(4)), field


def test_length_does_not_say_which_answer_is_right() -> None:
    for most in (max, min):
        assert share(questions(), most) == pytest.approx(0.25, abs=0.04)
    long = [{"choices": ["a", "b", "c", "dd"], "label": 3}]
    assert (share(long, max), share(long, min)) == (1, 0)


def test_questions_have_one_form() -> None:
    for number, row in enumerate(questions(), 1):
        assert row["question_id"] == f"know-{number:03d}"
        assert row["question"].endswith("?"), row
        lowered = [choice.lower() for choice in row["choices"]]
        assert len(set(lowered)) == 4, row
        assert not too_unlike(row["choices"]), row
    assert too_unlike(["Ice", "A very long answer that stands out", "Fog", "Dew"])


def test_no_question_has_its_answer_in_it() -> None:
    for row in questions():
        assert not given_away(row), row
    leaks = {"question": "Which gas is in a gas balloon of helium?", "label": 0}
    assert given_away({**leaks, "choices": ["Helium", "Oxygen", "Argon", "Neon"]}) == {"helium"}


def test_no_two_questions_ask_the_same() -> None:
    asked: dict[frozenset[str], str] = {}
    for row in questions():
        right = row["choices"][row["label"]]
        key = frozenset(topic(row["question"]) | topic(right))
        assert key not in asked, (row["question"], asked[key])
        asked[key] = row["question"]


def test_what_is_replayed_in_training_teaches_no_answer_of_a_guard() -> None:
    guarded = [(row["question"], row["choices"][row["label"]]) for row in questions()]
    guarded += requests("bundled/other-instructions")
    for pair in requests("bundled/general-instructions"):
        for asked in guarded:
            assert not taught(pair, asked), (pair, asked)
    opposites = ("Give the opposite of: hot, early.", "cold, late")
    assert taught(('What is the opposite of "early"?', "Late"), opposites)


@pytest.mark.parametrize("first", [20, 40, 100])
def test_the_first_questions_are_of_all_fields_and_positions(first: int) -> None:
    rows = questions()[:first]
    assert set(Counter(row["subject"] for row in rows).values()) == {first // 10}
    positions = Counter(row["label"] for row in rows)
    assert max(positions.values()) - min(positions[place] for place in range(4)) <= 2
