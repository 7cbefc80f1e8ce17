import json
import random
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brulee.data.contamination import Index, Match, scored_texts, trained_texts
from brulee.data.corpus import open_corpus
from brulee.data.row_texts import row_texts
from brulee.data.sources import Rows, open_source
from brulee.errors import InputError
from brulee.recipe import load_recipe

POOL = [f"word{i}" for i in range(2000)]
CHANCE = random.Random(0)


def prose(count: int) -> str:
    return " ".join(CHANCE.choices(POOL, k=count))


TRAIN = [{"text": prose(40)} for _ in range(30)]


def search(
    train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]], **options: Any
) -> list[Match]:
    index = Index([row_texts("train", Rows.of(train, "train"))])
    return index.search(row_texts("test", Rows.of(test, "test"), **options))


def words_of(row: dict[str, Any], first: int, last: int) -> str:
    return " ".join(row["text"].split()[first:last])


def test_a_planted_copy_is_found_with_its_span_and_both_places() -> None:
    copied = words_of(TRAIN[17], 5, 30)
    clean, dirty = search(TRAIN, [{"text": prose(30)}, {"text": f"New: {copied.upper()}! end"}])
    assert not clean.dirty
    assert (clean.span, clean.trained_place) == ("", None)
    assert dirty.reason == "13-gram"
    assert (dirty.row, dirty.place) == (1, "test, row 2")
    assert (dirty.span, dirty.span_words) == (copied, 25)
    assert (dirty.trained_source, dirty.trained_row) == ("train", 17)
    assert dirty.trained_place == "train, row 18"
    assert dirty.words == 27
    assert dirty.coverage_8 == dirty.coverage_13 == pytest.approx(25 / 27)


def test_the_longest_span_is_given_where_two_rows_share_one() -> None:
    text = f"{words_of(TRAIN[3], 0, 9)} {prose(5)} {words_of(TRAIN[8], 10, 30)}"
    (found,) = search(TRAIN, [{"text": text}])
    assert (found.span_words, found.trained_row) == (20, 8)
    assert found.coverage_8 == pytest.approx(29 / 34)
    assert found.coverage_13 == pytest.approx(20 / 34)


def test_a_span_goes_on_past_ngrams_that_an_earlier_row_holds() -> None:
    later = [{"text": f"{prose(3)} {words_of(TRAIN[2], 10, 20)} {prose(20)}"}]
    (found,) = search([*TRAIN, *later], [{"text": later[0]["text"]}])
    assert (found.trained_row, found.span_words) == (30, 33)


@pytest.mark.parametrize(
    ("copied", "own", "reason"),
    [
        (12, 30, None),  # an 8-gram or two in a long text prove nothing
        (13, 30, "13-gram"),
        (10, 2, "8-grams"),  # too short for a 13-gram: 10 of 12 words
        (8, 2, "8-grams"),  # 8 of 10: four fifths are enough
        (9, 3, None),  # 9 of 12
        (8, 0, "8-grams"),
    ],
)
def test_the_rule_at_its_edges(copied: int, own: int, reason: str | None) -> None:
    (found,) = search(TRAIN, [{"text": f"{words_of(TRAIN[0], 4, 4 + copied)} {prose(own)}"}])
    assert found.reason == reason


def test_a_copy_with_a_word_changed_here_and_there_is_dirty() -> None:
    given = TRAIN[5]["text"].split()
    for changed in (0, 10, 21, 30, 39):
        given[changed] = "other"
    (found,) = search(TRAIN, [{"text": " ".join(given)}])
    assert (found.reason, found.coverage_13) == ("8-grams", 0.0)


def test_ngrams_do_not_run_from_one_column_into_the_next() -> None:
    train = [{"a": "one two three four five six", "b": "seven eight nine ten eleven twelve"}]
    joined = "one two three four five six seven eight nine ten eleven twelve"
    (found,) = search(train, [{"text": joined}])
    assert found.coverage_8 == 0


SHORT = [
    {"question": "What is the capital of France?", "answer": "Paris, of course"},
    {"question": "What is the capital of Spain?", "answer": "Madrid, of course"},
    {"question": "Who wrote this?", "answer": "Nobody knows it"},
]


@pytest.mark.parametrize(
    ("row", "dirty"),
    [
        ({"question": "what is the capital of france", "answer": "PARIS of course!"}, True),
        ({"question": "what is the capital of france"}, True),
        ({"question": "What is the capital of France?", "answer": "Madrid, of course"}, False),
        ({"question": "What is the capital?", "answer": "Paris, of course"}, False),
        ({"question": "What is the capital of France now?", "answer": "Paris, of course"}, False),
    ],
)
def test_short_rows_are_dirty_only_where_one_row_holds_all_their_texts(
    row: dict[str, str], dirty: bool
) -> None:
    (found,) = search(SHORT, [row])
    assert found.reason == ("whole text" if dirty else None)
    if dirty:
        assert (found.trained_row, found.span) == (0, "what is the capital of france")


def test_a_copied_question_with_short_choices_of_its_own_is_dirty() -> None:
    question = "Which of these cells can be activated by a virus and how"  # 12 words
    choices = [["by budding", "by antibodies"], ["by complement", "by nothing"]]
    train = [{"question": question, "choices": own} for own in choices]
    (copied,) = search(train, [{"question": question, "choices": choices[1]}])
    assert (copied.reason, copied.trained_row) == ("whole text", 1)
    assert copied.coverage_8 < 0.8
    (other,) = search(train, [{"question": question, "choices": ["by budding", "by nothing"]}])
    assert other.reason is None


def test_label_columns_do_not_count() -> None:
    labels = ["clearly positive", "clearly negative"]
    train = [{**row, "label": labels[i % 2]} for i, row in enumerate(TRAIN)]
    test = [{"text": prose(6), "label": labels[i % 2]} for i in range(6)]
    assert [(m.dirty, m.words) for m in search(train, test)] == [(False, 6)] * 6


def test_label_words_do_not_count() -> None:
    label = "the customer wants to know where the parcel is"
    train = [{"text": f"{row['text']}", "intent": label} for row in TRAIN[:9]]
    test = [{"text": prose(20), "intent": label}]
    assert search(train, test)[0].coverage_8 > 0
    assert search(train, test, labels=[label.upper()])[0].coverage_8 == 0


def test_ids_do_not_count() -> None:
    train = [{"conversation_id": f"support chat {i}", **row} for i, row in enumerate(TRAIN)]
    (found,) = search(train, [{"conversation-id": "support chat 3", "text": "hello there"}])
    assert (found.dirty, found.words) == (False, 2)


def test_an_instruction_that_every_row_repeats_does_not_count() -> None:
    told = "Read the message of the customer below, and say in one sentence what he wants to have."
    train = [{"messages": [{"role": "user", "content": f"{told}\n{row['text']}"}]} for row in TRAIN]
    test = [
        {"messages": [{"role": "user", "content": f"{told}\n{text}"}]}
        for text in (prose(30), words_of(TRAIN[4], 0, 20))
    ]
    clean, dirty = search(train, test)
    assert (clean.dirty, clean.coverage_8, clean.words) == (False, 0, 30)
    assert (dirty.reason, dirty.trained_row, dirty.words) == ("13-gram", 4, 20)


def test_a_test_row_that_stands_in_very_many_training_rows_is_dirty() -> None:
    (found,) = search([*TRAIN, *[{"text": TRAIN[0]["text"]}] * 12], [TRAIN[0]])
    assert found.reason == "8-grams"


def test_ten_copies_are_not_boilerplate_yet() -> None:
    (found,) = search([*TRAIN, *[{"text": TRAIN[0]["text"]}] * 9], [TRAIN[0]])
    assert (found.reason, found.coverage_13) == ("13-gram", 1.0)


def test_chat_turns_are_texts_and_their_roles_are_labels() -> None:
    def chat(*said: str) -> dict[str, Any]:
        roles = ("user", "assistant")
        return {"messages": [{"role": roles[i % 2], "content": s} for i, s in enumerate(said)]}

    train = [chat(prose(20), prose(20)) for _ in range(5)]
    copied = train[2]["messages"][1]["content"]
    (found,) = search(train, [chat("Well?", copied)])
    assert (found.words, found.span_words, found.trained_row) == (21, 20, 2)


def test_chinese_counts_characters() -> None:
    train = [{"text": "今天天气很好，我们去公园散步吧。"}, {"text": "他昨天买了一本关于历史的书。"}]
    dirty, clean = search(
        train, [{"text": "今天天气很好，我们去公园散步了"}, {"text": "今天天气不好"}]
    )
    assert (dirty.reason, dirty.span) == ("13-gram", "今天天气很好,我们去公园散步")
    assert not clean.dirty


def test_unicode_that_looks_the_same_is_the_same() -> None:
    text = " ".join(f"café{i} naïve{i}" for i in range(8))
    (found,) = search([{"text": text}], [{"text": text.replace("é", "e\u0301").upper()}])
    assert found.coverage_13 == 1.0


@pytest.mark.parametrize("value", [None, "", "  ", "?!"])
def test_empty_rows_are_clean(value: str | None) -> None:
    train = [*TRAIN, {"text": ""}, {"text": None}]
    found = search(train, [{"text": prose(9), "more": ["x"]}, {"text": value, "more": []}])
    assert [(m.dirty, m.words) for m in found] == [(False, 10), (False, 0)]


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(InputError, match="test: no row holds text to compare"):
        search(TRAIN, [{"text": "..."}, {"text": ""}])
    with pytest.raises(InputError, match="train: no training row holds text"):
        search([{"text": ""}, {"text": "?"}], TRAIN)
    with pytest.raises(InputError, match="empty: it has no rows to compare"):
        row_texts("empty", Rows.of(TRAIN), [])
    with pytest.raises(InputError, match=r"ids: no column to compare; columns present: id\."):
        row_texts("ids", Rows.of([{"id": "a"}]))


def test_places_are_right_over_several_sources_and_chosen_rows() -> None:
    first, second = Rows.of(TRAIN[:10], "one"), Rows.of(TRAIN[10:], "two")
    index = Index([row_texts("one", first, [2, 5]), row_texts("two", second, [19, 4])])
    assert len(index) == 4
    tested = row_texts("test", Rows.of([TRAIN[14], TRAIN[5], TRAIN[3]], "test"), [2, 0, 1])
    found = [(m.row, m.trained_source, m.trained_place) for m in index.search(tested)]
    assert found == [(2, None, None), (0, "two", "two, row 5"), (1, "one", "one, row 6")]


def brute_force(train: Sequence[str], text: str, size: int) -> float:
    held = {tuple(t.split()[i : i + size]) for t in train for i in range(len(t.split()))}
    said = text.split()
    inside = set()
    for i in range(len(said) - size + 1):
        if tuple(said[i : i + size]) in held:
            inside.update(range(i, i + size))
    return len(inside) / len(said)


def test_coverage_equals_that_of_a_plain_search() -> None:
    few = [f"w{i}" for i in range(3)]  # so few words that runs of eight occur by chance
    chance = random.Random(1)
    train = [" ".join(chance.choices(few, k=60)) for _ in range(40)]
    test = [" ".join(chance.choices(few, k=chance.randrange(8, 50))) for _ in range(40)]
    index = Index(
        [row_texts("train", Rows.of([{"text": t} for t in train]))], common_rows=len(train)
    )
    found = index.search(row_texts("test", Rows.of([{"text": t} for t in test])))
    assert 0 < sum(m.coverage_8 for m in found) < len(found)
    for match, text in zip(found, test, strict=True):
        assert match.coverage_8 == pytest.approx(brute_force(train, text, 8))
        assert match.coverage_13 == pytest.approx(brute_force(train, text, 13))
        assert not match.span or f" {match.span} " in f" {text} "
        assert not match.span or any(f" {match.span} " in f" {t} " for t in train)


def test_a_task_compares_what_its_templates_read(tmp_path: Path) -> None:
    rows = [{"text": prose(20), "note": "the same note in every single row of this file"}
            for _ in range(40)]  # fmt: skip
    for row in rows:
        row["stars"] = "five stars" if len(row["text"]) % 2 else "one star"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.yaml").write_text(
        "data:\n  source: rows.jsonl\n"
        "  templates: {prompt: '{{ text }}', completion: '{{ stars }}'}\n"
    )
    corpus = open_corpus(load_recipe(tmp_path / "r.yaml"))
    (task,) = corpus.tasks.values()
    index = Index([trained_texts(task, "rows")])
    found = index.search(scored_texts(task, "rows/test"))
    assert len(index) == len(task.train)
    assert [m.row for m in found] == list(task.test)
    assert {m.words for m in found} == {20}
    assert not any(m.dirty for m in found)
    everything = open_source(str(tmp_path / "rows.jsonl"))
    again = index.search(row_texts("file", everything))
    assert {m.row for m in again if m.dirty} == set(task.train)


def test_twenty_thousand_rows_take_seconds() -> None:
    chance = random.Random(2)
    rows = [{"text": " ".join(chance.choices(POOL, k=40))} for _ in range(20_000)]
    source = Rows.of(rows, "train")
    started = time.process_time()
    index = Index([row_texts("train", source)])
    found = index.search(row_texts("test", Rows.of(rows[:200], "test")))
    assert all(m.dirty for m in found)
    assert time.process_time() - started < 8


@pytest.mark.parametrize("chunk", [1, 60])
@pytest.mark.parametrize("seed", range(4))
def test_matches_do_not_depend_on_how_training_rows_are_read(
    monkeypatch: pytest.MonkeyPatch, chunk: int, seed: int
) -> None:
    chance = random.Random(seed)
    words = [f"w{i}" for i in range(chance.choice((3, 40)))]

    def text(most: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(1, most)))

    preambles, choices = [text(25) for _ in range(2)], [text(5) for _ in range(3)]
    train = [
        {"text": f"{chance.choice([*preambles, ''])} {text(30)}", "answer": chance.choice(choices)}
        for _ in range(50)
    ]
    train += [{"text": f"{preambles[0]} {choice}", "answer": text(3)} for choice in choices]
    test = [{**chance.choice(train), "answer": text(2)} for _ in range(10)]
    test += [{"text": choice, "answer": train[-1]["answer"]} for choice in choices]
    whole = search(train, test)
    monkeypatch.setattr("brulee.data.contamination.CHUNK", chunk)
    assert search(train, test) == whole
    assert len({match.reason for match in whole}) > 1


def test_words_of_training_rows_are_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    source = Rows.of([{"text": " ".join(chance.choices(POOL, k=100))} for _ in range(1_000)])
    test = row_texts("test", Rows.of([source[5]], "test"))
    Index([row_texts("train", source, range(10))]).search(test)  # imports and caches
    monkeypatch.setattr("brulee.data.contamination.CHUNK", 2_000)
    tracemalloc.start()
    try:
        index = Index([row_texts("train", source)])
        (found,) = index.search(test)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.trained_row == 5
    assert peak < 10 * index.words  # the counts are 2.6 bytes a word; n-grams would be 24
