from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.extractiveness import fragments
from brulee.evaluation.faithfulness import checked, invented
from brulee.evaluation.number_words import values
from brulee.evaluation.quantities import claims, said

FIXTURE = Path(__file__).parents[2] / "fixtures" / "faithfulness.jsonl"
REAL = FIXTURE.with_name("faithfulness_dialogsum.jsonl")
ITEMS = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]


def found_in(source: str, summary: str) -> list[str]:
    return [summary[span.start : span.end] for span in invented(source, summary)]


def test_planted_inventions_are_found_and_faithful_summaries_left_alone(capsys) -> None:
    right = wrong = missed = 0
    for item in ITEMS:
        text = item["summary"]
        spans = invented(item["source"], text)
        planted = [
            (text.index(words), text.index(words) + len(words)) for words in item["invented"]
        ]
        hit = [p for p in planted if any(s.start < p[1] and p[0] < s.end for s in spans)]
        right += len(hit)
        missed += len(planted) - len(hit)
        wrong += sum(
            not any(s.start < end and start < s.end for start, end in planted) for s in spans
        )
    precision, recall = right / (right + wrong), right / (right + missed)
    with capsys.disabled():
        print(f"\nfaithfulness: precision {precision:.2f}, recall {recall:.2f}, {right} found")
    assert precision >= 0.9
    assert recall >= 0.9


@pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA is not set")
def test_inventions_about_real_dialogues_are_found(capsys) -> None:
    """52 summaries of 24 of DialogSum's dialogues, 22 of them faithful, written with this project.

    What stays: a short form of a word in the source, a unit turned into another, a title or a first
    name of common words.
    """
    data = Path(os.environ["BRULEE_REAL_DATA"]) / "dialogsum" / "dev.jsonl"
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    dialogues = {row["fname"]: row["dialogue"] for row in rows}
    found = planted = alarms = 0
    for line in REAL.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        text = item["summary"]
        spans = invented(dialogues[item["id"]], text)
        places = [(text.index(words), text.index(words) + len(words)) for words in item["invented"]]
        planted += len(places)
        found += sum(any(s.start < end and start < s.end for s in spans) for start, end in places)
        alarms += sum(
            not any(s.start < end and start < s.end for start, end in places) for s in spans
        )
    said = f"{found} of {planted} inventions found, {alarms} false alarms"
    with capsys.disabled():
        print(f"\nfaithfulness, DialogSum: {said}")
    assert found / planted >= 0.9, said
    assert alarms <= 9, said


def test_set_holds_twenty_of_each() -> None:
    assert sum(bool(item["invented"]) for item in ITEMS) == 20
    assert sum(not item["invented"] for item in ITEMS) == 20


def test_the_invented_hotel_is_marked_where_it_stands() -> None:
    source, summary = (
        "We look for a hotel near the sea.",
        "They stay at the Hotel Miramar, near the sea.",
    )
    (span,) = invented(source, summary)
    assert (summary[span.start : span.end], span.kind) == ("Miramar", "name")


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ("two hotels", "There are 2 hotels."),
        ("It costs 1,500 dollars.", "It costs fifteen hundred dollars."),
        ("It costs 1,500 dollars.", "It costs $1.5k, about 1600 with tax."),
        ("They are 12 dollars 50 cents.", "The price is $12.50."),
        ("at most 20, 000 RMB", "The limit is 20,000 RMB."),
        ("at a quarter to five", "It starts at 4:45 pm."),
        ("the 17:00 train", "They take the train at 5 pm."),
        ("see you at three thirty", "They meet at 3:30."),
        ("in nineteen ninety-nine", "It happened in 1999."),
        ("he's in his early thirties", "He is in his early 30s."),
        ("the 7:59 train", "The 7.59 train leaves."),
        ("at 9.36 from Leeds", "It leaves Leeds at 9:36."),
        ("the figure of 6. 5 dollars", "The figure is $6.50."),
        ("ready in thirty minutes", "It is ready in half an hour."),
        ("Doctor Brown came.", "Officer Brown is Doctor Brown."),
        ("half of the guests", "About 50% of the guests came."),
        ("Brian's party", "Brian had a party, says Brian’s friend."),
        ("the Parkers", "Mr. Parker arrived."),
        ("an American in Paris", "Someone from America visits Paris."),
        ("the World Health Organization", "The WHO said so."),
        ("He left the United States of America.", "He left the USA."),
        ("the WHO", "According to the World Health Organization it is so."),
        ("on Mon. or in Sept.", "Monday or September suit them."),
        ("#Person1#: hello", "#Person1# says hello. Person1 waves."),
        ("nothing", "Everybody agrees. Yesterday it rained; Recommendations follow."),
        ("nothing", "I think I'm late. It's fine. They're gone. OK."),
        ("Ann and Bo talk.", "The two agree. Both people nod; one of them first."),
        ("Carla paid forty-five pounds.", "That is what Carl"),
        ("Carla paid forty-five pounds.", "Carla paid forty-"),
        ("for 3 to 5 days", "It takes three to five days."),
        ("nothing", ""),
    ],
)
def test_what_is_said_in_other_words_is_no_invention(source: str, summary: str) -> None:
    assert found_in(source, summary) == []


@pytest.mark.parametrize(
    ("source", "summary", "expected"),
    [
        ("a party", "Brian has a party.", ["Brian"]),
        ("Brian talks", "Brian talks to Ann Lee.", ["Ann Lee"]),
        ("John Brown came", "John Smith came.", ["Smith"]),
        ("at 5", "at 5:30 with 3 men", ["5:30", "3"]),
        ("20 people", "8 people", ["8"]),
        ("#Person1#: hi", "#Person1# greets #Person2#.", ["#Person2#"]),
        ("in Rome", 'She said: "Naples is nice."', ["Naples"]),
        ("on Monday", "on Sunday, 5 May", ["Sunday", "5", "May"]),
        ("see us there", "They go to the U.S. soon.", ["U.S."]),
        ("1,000 men", "about 2,000 men", ["2,000"]),
        ("in twenty minutes", "It is ready in half an hour.", ["half an hour"]),
        ("at 7:59 and 9:18", "At 8.59 it costs $9.18.", ["8.59", "9.18"]),
        ("a green light", "Officer Brown saw a green light.", ["Brown"]),
        ("the seventh of May", "in his early 60s", ["60"]),
    ],
)
def test_what_the_source_lacks_is_an_invention(
    source: str, summary: str, expected: list[str]
) -> None:
    assert found_in(source, summary) == expected


def test_scores_are_shares_of_names_and_of_items() -> None:
    found = metric("faithfulness")
    assert found.against == "source"
    stats = found.statistics("Brian paid Ann 5 euros.", ["Brian: I paid 5 euros."])
    assert stats["faithfulness"].tolist() == [2, 3]
    assert found.item("faithfulness", stats["faithfulness"]) == pytest.approx(2 / 3)
    assert found.item("invented", stats["invented"]) == 1.0
    assert found.item("faithfulness", found.statistics("nothing", ["x"])["faithfulness"]) == 1.0
    assert not found.higher_is_better("invented")


def test_supported_spans_are_reported_too() -> None:
    spans = checked("Brian paid 5.", "Brian paid 6.")
    assert [(s.kind, s.supported) for s in spans] == [("name", True), ("number", False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twenty-five", [25]), ("one hundred and twenty", [120]), ("two thousand and ten", [2010]),
        ("three thirty", [3, 30]), ("fifteen hundred", [1500]),
        ("two million three hundred", [2000300]),
        ("twentieth", [20]),
    ],
)  # fmt: skip
def test_number_words(text: str, expected: list[float]) -> None:
    assert values(text) == expected


def test_claims_and_values() -> None:
    text = "On the 5th at 10am, 2 of 30 (7%)"
    assert [text[q.start : q.end] for q in claims(text)] == ["5", "10", "2", "30", "7"]
    assert {"10", "22", "5", "7"} <= said(text)
    assert "17" not in said("5 apples")


@pytest.mark.parametrize(
    ("source", "summary", "invented"),
    [
        ("He paid 5 dollars.", f"He paid {'9' * 400}", ["9" * 400]),
        (f"{'9' * 5000} 5 dollars {'9' * 400}", "He paid 5.", []),
        ("He paid 5.", f"He paid about {'9' * 400}", ["9" * 400]),
        (f"He paid {'8' * 400} 20", "He paid about 30.", ["30"]),
        ("Call at five to \u2460.", "A call at 3:55.", ["3:55"]),
        ("A dose of 0.00001 20 times.", "A dose of 0.00001, 20 times.", []),
        ("Half past thirty.", "At 5.", ["5"]),
    ],
    ids=["endless", "in a source", "about", "not near", "circled", "tiny", "no hour"],
)
def test_numbers_that_nobody_means_are_read_like_others(
    source: str, summary: str, invented: list[str]
) -> None:
    assert found_in(source, summary) == invented


def test_fragments_are_the_papers_greedy_runs() -> None:
    source = ["the", "cat", "sat", "on", "the", "mat", "near", "the", "door"]
    assert fragments(source, ["the", "cat", "sat", "near", "the", "door", "today"]) == [3, 3]
    found = metric("extractiveness").statistics(
        "the cat sat near the door today", [" ".join(source)]
    )
    assert found["coverage"][0] == pytest.approx(6 / 7)
    assert found["density"][0] == pytest.approx((9 + 9) / 7)
    assert found["novel_2grams"][0] == pytest.approx(2 / 6)
    assert found["novel_1grams"][0] == pytest.approx(1 / 7)


def test_an_empty_text_copies_nothing() -> None:
    found = metric("extractiveness").statistics("", ["some source"])
    assert [found[key][0] for key in ("coverage", "density", "novel_3grams")] == [0, 0, 0]
    with pytest.raises(InputError, match="reference"):
        metric("extractiveness").statistics("a summary", [])
