"""Multiple-choice questions are read with all their options, wherever the answer is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.formats import detect
from brulee.data.guessing import guess
from brulee.data.multiple_choice import one_each
from brulee.data.sources import Rows, open_source
from brulee.data.table_hints import families_for
from brulee.data.templates import load_templates
from brulee.errors import InputError

OPTIONS = ["ice", "fire", "snow"]
PAIRS = [{"label": label, "text": text} for label, text in zip("123", OPTIONS, strict=True)]
ASKED = "Hot 1?\nA. ice\nB. fire\nC. snow\n\nAnswer with the letter."


def read(folder: Path, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The prompts and completions of rows by the data section that is guessed for them."""
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = guess(detect(open_source(str(file))))
    template = load_templates(data["templates"]).templates[0]
    opened = open_source(str(file), columns=data.get("columns", {}))
    return [(one.prompt, one.completion) for row in opened if (one := template.render(row))]


@pytest.mark.parametrize(
    ("options", "column", "answers"),
    [
        ({"options": OPTIONS}, "answer", ["B", "C"]),
        ({"options": OPTIONS}, "answer", ["b", "c"]),
        ({"choices": OPTIONS}, "answer_idx", [1, 2, 0]),
        ({"choices": OPTIONS}, "label", ["2", "3"]),
        ({"choices": OPTIONS}, "label", [1.0, 2.0, 0.0]),
        ({"endings": OPTIONS}, "correct_answer", ["fire", "snow"]),
        ({"choices": PAIRS}, "answerKey", ["2", "3"]),
        ({"choices": {"text": OPTIONS, "label": ["x", "y", "z"]}}, "answer", ["y", "z"]),
        ({"options": dict(zip("ABC", OPTIONS, strict=True))}, "answer", ["fire", "snow"]),
        ({"opa": "ice", "opb": "fire", "opc": "snow", "exp": "It is."}, "cop", [2, 3]),
        ({"A": "ice", "B": "fire", "C": "snow"}, "answer", ["B", "C"]),
        ({"Option 1": "ice", "Option 2": "fire", "Option 3": "snow"}, "Correct Option", [2, 3]),
    ],
)
def test_options_and_answers_are_read_in_every_form(
    tmp_path: Path, options: dict[str, Any], column: str, answers: list[Any]
) -> None:
    rows = [{"question": "Hot 1?", **options, column: answer} for answer in answers]
    assert read(tmp_path, rows)[:2] == [(ASKED, "B"), (ASKED, "C")]


def test_a_question_in_an_object_comes_after_its_passage(tmp_path: Path) -> None:
    row = {"passage": "Read.", "question": {"stem": "Hot 1?", "choices": PAIRS}, "answerKey": "1"}
    assert read(tmp_path, [row]) == [(f"Read.\n\n{ASKED}", "A")]


def test_rows_have_as_many_letters_as_options_and_may_lack_an_answer(tmp_path: Path) -> None:
    letters = {"A": "ice", "B": "fire", "C": None}
    rows = [
        {"question": "Hot?", "options": letters, "answer": "B"},
        {"question": "Hot?", "options": letters | {"C": "sun"}, "answer": None},
    ]
    found = read(tmp_path, rows)
    assert found[0] == ("Hot?\nA. ice\nB. fire\n\nAnswer with the letter.", "B")
    assert found[1][1] == ""


def test_rows_of_which_one_has_no_question_are_refused(tmp_path: Path) -> None:
    row = {"question": {"stem": "Hot?", "choices": PAIRS}, "passage": "Read.", "answerKey": "1"}
    with pytest.raises(InputError, match="do not say what is asked"):
        read(tmp_path, [row, row | {"question": None}])


def test_the_answer_is_the_text_of_an_option_that_is_a_number(tmp_path: Path) -> None:
    row = {"question": "1 + 2?", "options": ["2", "3", "5"]}
    assert read(tmp_path, [row | {"answer": "3"}, row | {"answer": "2"}])[0][1] == "B"


def test_answers_are_counted_from_the_smallest_of_all_rows(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "options": OPTIONS, "label": int(i < 60)} for i in range(61)]
    assert [answer for _, answer in read(tmp_path, rows)] == ["B"] * 60 + ["A"]


def test_answers_of_unlabelled_rows_are_empty(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "options": OPTIONS, "label": i % 2} for i in range(60)]
    found = read(tmp_path, [*rows, {"question": "60?", "options": OPTIONS, "label": -1}])
    assert [answer for _, answer in found][58:] == ["A", "B", ""]


@pytest.mark.parametrize("answers", [("B", "C"), (1, 2, 0)])
def test_an_empty_option_moves_the_letters_of_those_after_it(
    tmp_path: Path, answers: tuple[Any, ...]
) -> None:
    row = {"question": "Hot?", "A": "", "B": "ice", "C": "fire"}
    rows = [row | {"answer": answer} for answer in answers[:2]]
    rows += [{"question": "Cold?", "A": "sun", "B": "fire", "C": "ice", "answer": a}
             for a in answers[2:]]  # fmt: skip
    assert read(tmp_path, rows)[:2] == [
        ("Hot?\nA. ice\nB. fire\n\nAnswer with the letter.", "A"),
        ("Hot?\nA. ice\nB. fire\n\nAnswer with the letter.", "B"),
    ]


def test_zero_is_an_option(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "1 - 1?", "A": 0, "B": 1, "C": 2, "answer": "A"},
        {"question": "1 - 2?", "A": 0, "B": -1, "C": None, "answer": "B"},
    ]
    assert [prompt for prompt, _ in read(tmp_path, rows)] == [
        "1 - 1?\nA. 0\nB. 1\nC. 2\n\nAnswer with the letter.",
        "1 - 2?\nA. 0\nB. -1\n\nAnswer with the letter.",
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Hot?", "options": OPTIONS, "answer": "the sun"},
        {"question": "Hot?", "options": OPTIONS, "answer": "D"},
        {"question": "Hot?", "options": OPTIONS, "answer": 7},
        {"question": "Hot?", "options": OPTIONS, "answer": True},
    ],
)
def test_an_answer_that_is_no_option_is_asked_for_as_in_any_table(row: dict[str, Any]) -> None:
    assert "Answer with the letter" not in guess(detect(Rows.of([row])))["templates"]["prompt"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["q", "opb", "opa"], ["opa", "opb"]),
        (["choice0", "choice1"], ["choice0", "choice1"]),
        (["a", "B"], ["a", "B"]),
        (["option_b", "option_c"], []),
        (["a", "option1"], []),
        (["text1", "text2"], []),
    ],
)
def test_columns_of_options_are_a_series(columns: list[str], expected: list[str]) -> None:
    assert one_each(columns) == expected


def test_neither_a_pair_nor_a_family_reads_a_question_without_its_options() -> None:
    row = {"question": "Hot?", "A": "ice", "B": "fire", "answer": "B"}
    assert detect(Rows.of([row])).templates is None
    assert families_for([*row], row) == []
