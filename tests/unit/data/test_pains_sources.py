"""Mistakes with data files and templates that others reported, each built here and seen reported.

The issue numbers are of the projects where people lost time to them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.formats import detect, require_templates
from brulee.data.lint import lint
from brulee.data.row_checks import usable_rows
from brulee.data.sources import Rows, open_source
from brulee.data.template import Rendered, Template, TemplateMetadata
from brulee.data.templates import TemplateSet, load_templates
from brulee.errors import InputError


def refused(records: list[dict[str, Any]]) -> str:
    """Why rows cannot be trained on as they are."""
    with pytest.raises(InputError) as caught:
        require_templates(detect(Rows.of(records, "rows.jsonl")))
    return str(caught.value)


def entry(folder: Path, **keys: Any) -> str:
    file = folder / "dataset_info.json"
    file.write_text(json.dumps({"mine": {"file_name": "a.jsonl", **keys}}))
    return f"{file}:mine"


# Empty outputs: llm-foundry#445, ChatGLM-Efficient-Tuning#100, trl#1225


def test_empty_outputs_are_left_out_and_counted() -> None:
    records = [{"prompt": f"q{i}", "completion": "" if i == 7 else "a"} for i in range(40)]
    rows = Rows.of(records, "rows.jsonl")
    usable = usable_rows(rows, require_templates(detect(rows)))
    assert usable.dropped["empty completion"] == 1
    assert 7 not in usable.rows
    assert len(usable.rows) == 39


def test_many_empty_outputs_are_refused_with_the_first_row_and_the_count() -> None:
    records = [{"prompt": "q", "completion": " " if i % 2 else "a"} for i in range(40)]
    rows = Rows.of(records, "rows.jsonl")
    with pytest.raises(InputError, match=r"rows.jsonl, row 2: .*empty, as in 20 of 40 rows"):
        usable_rows(rows, require_templates(detect(rows)))


def test_a_null_output_is_not_an_empty_one() -> None:
    rows = Rows.of([{"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": None}])
    with pytest.raises(InputError, match="row 2: the label 'completion'"):
        usable_rows(rows, require_templates(detect(rows)))


# dataset_info.json: LlamaFactory#5294 (KeyError: None), #7577 ("format"), #3874 ('instruction')


def test_one_column_given_leaves_the_defaults_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ask": "Add.", "input": "1 2", "output": "3"}\n')
    rows = open_source(entry(tmp_path, columns={"prompt": "ask"}))
    rendered = require_templates(detect(rows)).templates[0].render(rows[0])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion) == ("Add.\n\n1 2", "3")


def test_a_misspelled_key_is_an_error_and_not_another_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"conversations": []}\n')
    with pytest.raises(InputError, match="unknown key 'format'; did you mean 'formatting'"):
        open_source(entry(tmp_path, format="sharegpt"))


def test_a_column_that_the_file_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ask": "Add.", "reply": "3"}\n')
    with pytest.raises(InputError, match=r"unknown column 'asks'; did you mean 'ask'.*Valid: ask"):
        open_source(entry(tmp_path, columns={"prompt": "asks", "response": "reply"}))
    rows = open_source(entry(tmp_path))
    with pytest.raises(InputError, match=r"the columns \(ask, reply\) do not say what is asked"):
        require_templates(detect(rows))


# ShareGPT


def turn(speaker: str, text: str | None) -> dict[str, Any]:
    return {"from": speaker, "value": text}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([turn("gpt", "Hi"), turn("human", "a")], "turn 1: 'assistant' begins the chat"),
        ([turn("human", "a"), turn("human", "b"), turn("gpt", "c")], "turn 2: 'user' follows"),
        ([turn("human", "a"), turn("gpt", "b"), turn("system", "c")], "turn 3: 'system' follows"),
        ([turn("human", "a"), turn("gpt", "")], "turn 2: the turn of 'gpt' is empty"),
        ([turn("human", "a"), turn("gpt", None)], "turn 2: the turn of 'gpt' is empty"),
        (
            [turn("human", "a"), turn("narrator", "b")],
            "turn 2: unknown role 'narrator'; none is close",
        ),
        ([turn("human", "a")], "the last turn is from 'user', and no turn is an answer"),
    ],
)
def test_an_odd_chat_is_named_by_row_and_turn(turns: list[dict[str, Any]], reason: str) -> None:
    good = {"conversations": [turn("human", "a"), turn("gpt", "b")]}
    assert f"rows.jsonl, row 2{', ' if 'turn' in reason[:4] else ': '}{reason}" in refused(
        [good, {"conversations": turns}]
    )


def test_a_question_that_nobody_answered_is_left_out() -> None:
    chat = [turn("human", "a"), turn("gpt", "b")]
    rows = Rows.of([{"conversations": [*chat, turn("human", "c")]}, {"conversations": chat}])
    found = [require_templates(detect(rows)).templates[0].render(row) for row in detect(rows).rows]
    assert found[0] == found[1]


def test_roles_in_capitals_are_roles() -> None:
    rows = Rows.of([{"conversations": [turn("Human", "a"), turn("GPT", "b")]}])
    assert detect(rows).name == "sharegpt"


# P3


def test_the_ranking_form_of_p3_would_teach_wrong_answers() -> None:
    row = {"inputs_pretokenized": "Is it?", "targets_pretokenized": "No", "is_correct": False}
    assert "holds the wrong answers as well" in refused([row])


def test_p3_without_its_texts_is_token_ids_of_another_tokenizer() -> None:
    assert "token ids of another tokenizer" in refused([{"inputs": [3, 1], "targets": [4]}])


def test_p3_rows_lose_their_spaces_and_not_their_words() -> None:
    row = {"inputs_pretokenized": "Is it?\n\n", "targets_pretokenized": "\n Yes"}
    detected = detect(Rows.of([row]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion) == ("Is it?", "Yes")


# Preference data, and chats that are one text


def test_preference_data_and_chats_in_one_text_are_refused_with_the_reason() -> None:
    assert "preference data" in refused([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    assert "data.templates: plain-text learns all of it" in refused([{"text": "### Response: a"}])


# Labels as texts: answer_choices[stars - 1] needs a number


def test_a_label_that_is_text_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "t", "body": "b", "stars": "5"}\n')
    rows = open_source(str(tmp_path / "a.jsonl"))
    with pytest.raises(InputError, match=r"a.jsonl, line 1: .*template 'out-of-five'.*str.*int"):
        usable_rows(rows, load_templates("review-rating/out-of-five"))
    (tmp_path / "a.csv").write_text("title,body,stars\nt,b,5\n")
    rows = open_source(str(tmp_path / "a.csv"))
    assert usable_rows(rows, load_templates("review-rating/out-of-five")).rows == {0}


# Templates: what FLAN shipped


@pytest.mark.parametrize(
    ("jinja", "code"),
    [
        ("{{text}}n\nIs it good? ||| {{label}}", "stray-character"),
        ("CONVERSATION:Conversation:\n{{text}} ||| {{label}}", "merged-strings"),
        ("{{text}} {{label}} ||| {{label}}", "target-leaks"),
        ("{{txet}} ||| {{label}}", "missing-column"),
    ],
)
def test_a_slip_of_a_template_is_an_error_of_the_linter(jinja: str, code: str) -> None:
    rows = Rows.of([{"text": f"It is {i}.", "label": f"answer {i}"} for i in range(5)])
    template = Template("t", jinja, metadata=TemplateMetadata(original_task=True))
    found = lint(TemplateSet("mine", (template,)), rows)
    assert code in {finding.code for finding in found if finding.severity == "error"}


def test_a_template_given_twice_and_label_words_that_do_not_cover_are_errors() -> None:
    twice = tuple(Template(name, "{{text}} ||| {{label}}") for name in "ab")
    assert "duplicate" in " ".join(f.code for f in lint(TemplateSet("mine", twice)))
    rows = Rows.of([{"text": "a", "label": i} for i in range(3)])
    few = Template("t", "{{text}} ||| {{answer_choices[label]}}", "no ||| yes")
    codes = {f.code for f in lint(TemplateSet("mine", (few,)), rows) if f.severity == "error"}
    assert "label-not-covered" in codes


@pytest.mark.parametrize(("encoding", "named"), [("cp1252", "WINDOWS-1252"), ("utf-16", "UTF-16")])
def test_a_file_in_another_encoding_is_told_how_it_is_converted(
    tmp_path: Path, encoding: str, named: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("question,answer\nWo?,Über dem Fluß\n", encoding=encoding)
    with pytest.raises(InputError, match=rf"is not UTF-8 text; .*iconv -f {named} -t UTF-8"):
        open_source(str(file))


# Values without a type: LlamaFactory#6223, #4249, datasets#7222


def test_texts_may_be_parts_in_one_turn_and_text_in_another() -> None:
    parts = [{"type": "text", "text": "Is it "}, {"type": "text", "text": "late?"}]
    asked = [{"role": "user", "content": text} for text in (parts, "Is it late?")]
    records = [{"messages": [turn, {"role": "assistant", "content": "Yes."}]} for turn in asked]
    detected = detect(Rows.of(records))
    template = require_templates(detected).templates[0]
    assert [template.render(row) for row in detected.rows] == [
        Rendered("Is it late?", "Yes.", None)
    ] * 2


def test_an_image_beside_texts_is_named_with_its_turn() -> None:
    seen = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is it?"}]
    chats = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "A lift."}]
        for text in ("Where?", seen)
    ]
    with pytest.raises(InputError, match="row 2, turn 1: the content holds something other than"):
        Rows.of([{"messages": chat} for chat in chats], "rows.jsonl")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "an integer of more than 64 bits; write it as text"),
        ([{"a": "b"}, {"a": [1, 2]}], "in which 'a' is a list and text; one column has one type"),
        ([1, "b"], "in which an item is a number and text; one column has one type"),
        ([{"a": {"b": "c"}}, {"a": {"b": 0.5}}], "in which 'b' is a number and text"),
    ],
)
def test_a_value_that_no_column_can_hold_is_told_why(value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"rows.jsonl, row 1: column 'meta' holds .*, {reason}"):
        Rows.of([{"prompt": "q", "completion": "a", "meta": value}], "rows.jsonl")


@pytest.mark.parametrize(
    ("answer", "shown"), [({"x": 1, "y": None}, '{"x": 1, "y": null}'), (["a"], '["a"]'),
                          (True, "true")],
)  # fmt: skip
@pytest.mark.parametrize("names", [("prompt", "completion"), ("instruction", "output")])
def test_an_answer_that_is_no_text_is_named(
    names: tuple[str, str], answer: Any, shown: str
) -> None:
    column = names[1]
    reason = refused([dict(zip(names, ("Why?", answer), strict=True))])
    assert f"the column {column!r} holds {shown}, which is not text" in reason
    assert f"{{{{{column} | tojson}}}}" in reason


@pytest.mark.parametrize("text", ['[\n{"a": "b"}\n]', '{\n"a": "b"\n}', '[{"a": "b"}]'])
def test_one_json_text_that_is_called_jsonl_is_told_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"rows.jsonl, line 1: .* is called \.json\."):
        open_source(str(tmp_path / "rows.jsonl"))
