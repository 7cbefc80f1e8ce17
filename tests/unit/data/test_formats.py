"""Every format is told from its columns and content; what cannot be trained on says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brulee import progress
from brulee.data.corpus import open_corpus
from brulee.data.formats import FORMATS, describe, detect, require_templates
from brulee.data.sources import Rows
from brulee.data.table_hints import families_for
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
ASKED, TOLD = {"role": "user", "content": "And you?"}, {"role": "assistant", "content": "Fine."}
RULE = {"role": "system", "content": "Be kind."}

# format, row, prompt, completion
PHRASED: list[tuple[str, dict[str, Any], str, str]] = [
    ("openai-chat", {"messages": [USER, BOT]}, "Hi", "Hello"),
    ("openai-chat", {"messages": [RULE, USER, BOT]}, "Hi", "Hello"),
    ("openai-chat", {"messages": [USER, BOT, ASKED, TOLD]}, "And you?", "Fine."),
    ("openai-chat", {"conversations": [USER, BOT], "id": 3}, "Hi", "Hello"),
    ("openai-chat", {"messages": [USER, BOT], "system": "S"}, "Hi", "Hello"),
    (
        "openai-chat",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                      {"role": "assistant", "content": [{"type": "text", "text": "Yo"}]}]},
        "Hi", "Yo",
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        "Hi", "Hello",
    ),
    (
        "openai-chat",
        {"system": [{"text": "S"}],
         "messages": [{"role": "User", "content": [{"text": "Hi"}]},
                      {"role": "Chatbot", "content": [{"text": "Yo"}]}]},
        "Hi", "Yo",
    ),
    (
        "gemini",
        {"systemInstruction": {"role": "system", "parts": [{"text": "S"}]},
         "contents": [{"role": "user", "parts": [{"text": "H"}, {"text": "i"}]},
                      {"role": "model", "parts": [{"text": "Yo"}]}]},
        "Hi", "Yo",
    ),
    ("turns-in-order", {"conversations": ["Hi", "Hello"], "source": "x"}, "Hi", "Hello"),
    ("turns-in-order", {"conversation": ["a", "b", "c", "d"]}, "c", "d"),
    ("turns-in-order", {"conversation": [{"input": "a", "output": "b"},
                                         {"input": "c", "output": "d"}]}, "c", "d"),
    (
        "xlam",
        {"id": 0, "query": "Rain?", "tools": '[{"name": "sky", "parameters": {}}]',
         "answers": '[{"name": "sky", "arguments": {"at": "Rome"}}]'},
        "Rain?", 'sky({"at": "Rome"})',
    ),
    ("prompt-completion", {"prompt": "2+2?", "completion": "4"}, "2+2?", "4"),
    ("prompt-completion", {"prompt": "2+2?", "completion": 4}, "2+2?", "4"),
    ("prompt-completion", {"system": "S", "prompt": "a", "completion": "b"}, "a", "b"),
    ("prompt-completion", {"prompt": [RULE, USER], "completion": [BOT]}, "Hi", "Hello"),
    ("prompt-completion", {"prompt": [USER, BOT, ASKED], "completion": [TOLD]},
     "And you?", "Fine."),
    ("prompt-completion", {"Prompt": "2+2?", "Completion": "4"}, "2+2?", "4"),
    ("alpaca", {"instruction": "Add.", "output": "o"}, "Add.", "o"),
    ("alpaca", {"Instruction": "Add.", "Input": "1 2", "Response": "3"}, "Add.\n\n1 2", "3"),
    ("alpaca", {"instruction": "Add.", "input": "1 2", "output": "3"}, "Add.\n\n1 2", "3"),
    ("alpaca", {"instruction": "Add.", "input": "", "output": "3"}, "Add.", "3"),
    ("alpaca", {"instruction": "Add.", "input": None, "output": "3"}, "Add.", "3"),
    ("alpaca", {"instruction": "Add 1.", "input": 0, "output": "1"}, "Add 1.\n\n0", "1"),
    (
        "alpaca",
        {"instruction": "Say", "context": "C", "response": "r", "category": "qa"},
        "Say\n\nC", "r",
    ),
    (
        "alpaca",
        {"system": "S", "history": [["a", "b"]], "instruction": "c", "input": "d", "output": "e"},
        "c\n\nd", "e",
    ),
    ("alpaca", {"system": None, "history": [], "instruction": "c", "output": "e"}, "c", "e"),
    (
        "natural-instructions",
        {"Definition": ["Do it."], "Instances": [{"id": "1", "input": "i", "output": ["o", "p"]}]},
        "Do it.\n\ni", "o",
    ),
    (
        "natural-instructions",
        {"task_name": "t", "definition": "Do it.", "inputs": "i", "targets": "o"},
        "Do it.\n\ni", "o",
    ),
    (
        "p3",
        {"inputs": [3, 1], "targets": [4], "inputs_pretokenized": "Is it?\n",
         "targets_pretokenized": "\nYes", "answer_choices": ["Yes", "No"]},
        "Is it?", "Yes",
    ),
    *(
        ("written-chat", {"text": text, "source": "x"}, "Hi\n\nyou", "Hello.\nYes")
        for text in (
            "### Human: Hi\n\nyou### Assistant: Hello.\nYes",
            "Below is a task.\n\n### Instruction:\nHi\n\n### Input:\nyou\n\n"
            "### Response:\nHello.\nYes</s>",
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nHi\n\nyou [/INST] Hello.\nYes </s>",
            "<s>[INST] a [/INST] b </s><s>[INST] Hi\n\nyou [/INST] Hello.\nYes </s>",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi\n\nyou<|im_end|>\n"
            "<|im_start|>assistant\nHello.\nYes<|im_end|>\n",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi\n\nyou<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.\nYes<|eot_id|>",
            "<bos><start_of_turn>user\nHi\n\nyou<end_of_turn>\n<start_of_turn>model\n"
            "Hello.\nYes<end_of_turn>\n",
            "<|user|>\nHi\n\nyou</s>\n<|assistant|>\nHello.\nYes</s>",
            "A chat.\n\nUSER: Hi\n\nyou\nASSISTANT: Hello.\nYes",
        )
    ),
    ("pair", {"inputs": "a", "targets": "b"}, "a", "b"),
    ("pair", {"input": "a", "output": "b"}, "a", "b"),
    ("pair", {"source": "a", "target": "b"}, "a", "b"),
    ("pair", {"input_text": "a", "target_text": "b"}, "a", "b"),
    ("pair", {"question": "a", "answer": "b", "id": 1}, "a", "b"),
    ("pair", {"Context": "a", "Response": "b"}, "a", "b"),
    ("pair", {"user": "a", "assistant": "b"}, "a", "b"),
    ("pair", {"Question": "a", "Answer": "b", "Lang": "en"}, "a", "b"),
    ("pair", {"Questions": "a", "Answers": "b"}, "a", "b"),
    ("pair", {"problem": "a", "solution": "b", "level": "Level 1"}, "a", "b"),
    ("pair", {"system_prompt": "S", "question": "a", "response": "b"}, "a", "b"),
    (
        "pair",
        {"id": "x", "dialogue": "#1: a", "summary": "b", "topic": "c"},
        "Summarize the following conversation.\n\n#1: a", "b",
    ),
    ("pair", {"document": "a", "summary": "b"}, "Summarize the following document.\n\na", "b"),
    ("pair", {"text": "a", "summary": "b"}, "Summarize the following text.\n\na", "b"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "prompt", "completion"), PHRASED)
def test_a_format_is_recognised_and_phrased(
    name: str, row: dict[str, Any], prompt: str, completion: str
) -> None:
    detected = detect(Rows.of([row]))
    assert detected.name == name
    (template,) = require_templates(detected)
    rendered = template.render(detected.rows[0])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion) == (prompt, completion)
    assert "answer_choices" not in detected.rows.columns


def message(at: str, parent: str | None, role: str, rank: int | None = None) -> dict[str, Any]:
    return {"message_id": at, "parent_id": parent, "role": role, "text": f"Text {at}", "rank": rank,
            "deleted": at == "bad"}  # fmt: skip


def test_a_chat_of_a_message_tree_follows_the_best_ranked_replies() -> None:
    rows = [
        message("b", "a", "assistant", 1),
        message("a", None, "prompter"),
        message("unanswered", None, "prompter"),
        message("bad", "a", "assistant", 0),
        message("c", "a", "assistant", 0),
        message("e", "c", "prompter", None),
        message("d", "c", "prompter", 0),
        message("f", "d", "assistant"),
        message("g", "b", "prompter"),
        message("lost", "elsewhere", "assistant"),
    ]
    detected = detect(Rows.of(rows))
    assert detected.name == "message-tree"
    assert len(detected.rows) == 1
    assert detected.rows.place(0) == Rows.of(rows).place(1)
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert [turn["content"] for turn in rendered.history] == ["Text a", "Text c"]
    assert (rendered.prompt, rendered.completion) == ("Text d", "Text f")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([message("a", None, "prompter")], "is answered by another"),
        (
            [message("a", None, "user"), message("b", "a", "pope")],
            "row 2: unknown role 'pope'. Valid: prompter, user, ass",
        ),
    ],
)
def test_message_trees_without_a_chat_are_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        detect(Rows.of(rows))


def test_what_precedes_a_written_chat_and_its_first_turns_are_read_before_the_answer() -> None:
    text = "Be kind.\nUSER: Hi\nASSISTANT: Hello\nUSER: And you?\nASSISTANT: Fine."
    detected = detect(Rows.of([{"text": text}]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert rendered.history == (RULE, USER, BOT)
    assert (rendered.prompt, rendered.completion) == ("And you?", "Fine.")


def test_tags_in_the_turns_of_a_written_chat_are_kept() -> None:
    text = "<s>[INST] Strike <s>this</s> out. [/INST] <s>this</s> is out</s>"
    detected = detect(Rows.of([{"text": text}]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert rendered.prompt == "Strike <s>this</s> out."
    assert rendered.completion == "this</s> is out"


def test_a_written_chat_of_another_style_is_malformed() -> None:
    good = {"text": "### Human: Hi### Assistant: Hello"}
    rows = [good] * 60 + [{"text": "USER: Hi\nASSISTANT: Hello"}, {"text": None}]
    with pytest.raises(InputError, match="row 61: the last turn is from 'user', and no turn is an"):
        detect(Rows.of(rows))
    assert len(detect(Rows.of(rows), malformed_chats="skip").rows) == 60


def test_text_without_a_prompt_is_learned_as_it_stands() -> None:
    row = {"text": "  Once upon\n", "url": "u", "language_score": 0.9}
    detected = detect(Rows.of([row]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion, rendered.plain) == ("", "  Once upon\n", True)
    assert describe(detected, row).endswith("everything is learned).\n  text:   Once upon\n    ")


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("preference", {"chosen": "a", "rejected": "b"}, "'rejected' are preference data"),
        ("preference", {"prompt": "p", "chosen": "a", "rejected": "b"}, "{completion: chosen}"),
        ("preference", {"chosen": [USER, BOT], "rejected": [USER, BOT]}, "{messages: chosen}"),
        (
            "preference",
            {"prompt": "p", "chosen": [USER, BOT], "rejected": [USER, BOT]},
            "{messages: chosen}",
        ),
        (
            "preference",
            {"prompt": [USER], "chosen": [BOT], "rejected": [BOT]},
            "{completion: chosen}",
        ),
        ("preference", {"prompt": "p", "completion": "c", "label": True}, "would be learned"),
        ("alpaca", {"instruction": "i", "history": ["q", "a"], "output": "o"}, "'history' has to"),
        ("p3", {"inputs": [1], "targets": [2]}, "token ids of another tokenizer"),
        (
            "p3",
            {"inputs_pretokenized": "a", "targets_pretokenized": "b", "is_correct": False},
            "the wrong answers as well",
        ),
        ("text", {"text": "Hi [/INST] Hello"}, "chats written out as text"),
        ("text", {"text": "<|assistant|>\nHello"}, "chats written out as text"),
        ("labelled-table", {"text": "good", "label": 1}, "the columns (text, label) do not say"),
        ("labelled-table", {"a": "x", "b": "y"}, "no library family has them"),
        ("labelled-table", {"id": "x", "tags": ["B"]}, "or map data.columns."),
        ("labelled-table", {"en": "a", "fr": "b"}, "translates English into French."),
        ("labelled-table", {"body": "x"}, "plain-text with data.columns: {text: body}"),
        (
            "labelled-table",
            {"kind": "a", "text": "b"},
            "as plain text: data.templates: plain-text.",
        ),
        ("labelled-table", {"source": "a", "target": "b", "source_language": "en"}, "do not say"),
        ("labelled-table", {"prefix": "p", "input_text": "a", "target_text": "b"}, "do not say"),
        ("labelled-table", {"question": "q", "answer": "a", "context": "c"}, "do not say"),
        ("labelled-table", {"question": "q", "answer": ["a", "b"]}, "not text"),
    ],
)
def test_what_cannot_be_trained_on_says_why(name: str, row: dict[str, Any], reason: str) -> None:
    detected = detect(Rows.of([row], "shop.jsonl"))
    assert (detected.name, detected.templates) == (name, None)
    with pytest.raises(InputError) as caught:
        require_templates(detected)
    assert str(caught.value).startswith("shop.jsonl: ")
    assert reason in str(caught.value)


def test_every_format_is_met_by_these_tests() -> None:
    assert {name for name, *_ in PHRASED} | {"preference", "message-tree", "text"} == set(FORMATS)


def test_families_are_those_whose_columns_fit_and_that_apply_to_the_row() -> None:
    assert "imdb" in families_for(["text", "label"], {"text": "good", "label": 1})
    assert "snli" in families_for(
        ["premise", "hypothesis", "label"], {"premise": "a", "hypothesis": "b", "label": 2}
    )
    assert families_for(["text", "label"], {"text": "good", "label": 7_000}) == []
    assert "Library families that fit" in detect(Rows.of([{"text": "good", "label": 1}])).why


CHAT = {"messages": [RULE, USER, BOT, ASKED, TOLD]}
CHATS: list[dict[str, Any]] = [
    CHAT,
    {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"},
                       {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "And you?"},
                       {"from": "gpt", "value": "Fine."}]},
    {"prompt": [RULE, USER, BOT, ASKED], "completion": [TOLD]},
    {"system": "Be kind.", "history": [["Hi", "Hello"]], "instruction": "And you?",
     "output": "Fine."},
]  # fmt: skip


@pytest.mark.parametrize("turns", ["every", "last"])
@pytest.mark.parametrize("row", CHATS, ids=["openai", "sharegpt", "messages", "alpaca"])
def test_chats_of_several_turns_keep_them_apart(row: dict[str, Any], turns: Any) -> None:
    detected = detect(Rows.of([row] * 60), turns=turns)
    (template,) = require_templates(detected)
    rendered = template.render(detected.rows[0])
    assert rendered is not None
    assert rendered.history == (RULE, USER, BOT)
    assert (rendered.prompt, rendered.completion) == ("And you?", "Fine.")
    assert rendered.learn_history == (turns == "every")
    assert f"chats of up to 2 answers, of which {turns}".replace("last", "the last") in detected.why


def test_chats_of_which_one_has_several_turns_are_all_rendered_as_chats() -> None:
    rows = Rows.of([{"messages": [USER, BOT]}] * 60 + [CHAT])
    detected = detect(rows)
    (template,) = require_templates(detected)
    alone, long = template.render(detected.rows[0]), template.render(detected.rows[60])
    assert alone is not None
    assert long is not None
    assert (alone.history, len(long.history)) == ((), 3)


def test_what_is_learned_of_a_chat_is_part_of_the_digest() -> None:
    every, last = (detect(Rows.of([CHAT]), turns=turns).templates for turns in ("every", "last"))
    assert every is not None
    assert last is not None
    assert every.digest != last.digest


def test_chats_are_grouped_by_everything_that_was_said_before() -> None:
    assert require_templates(detect(Rows.of([CHAT]))).source_columns == ("history", "prompt")


def test_an_unknown_choice_of_turns_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.turns: unknown choice of turns 'all'"):
        detect(Rows.of([CHAT]), turns="all")


def test_a_chat_is_described_with_what_came_before() -> None:
    detected = detect(Rows.of([CHAT], "chats.jsonl"))
    assert describe(detected, detected.rows[0]).splitlines() == [
        "chats.jsonl: read as openai-chat (messages: chats of up to 2 answers, "
        "of which every one is learned).",
        "  history: system: Be kind.",
        "    user: Hi",
        "    assistant: Hello",
        "  prompt: And you?",
        "  completion: Fine.",
    ]


def test_natural_instructions_give_a_row_per_instance_with_its_place() -> None:
    tasks = [
        {
            "Definition": ["D1"],
            "Instances": [{"input": f"i{n}", "output": ["o"]} for n in range(3)],
        },
        {"Definition": ["D2"], "Instances": [{"input": "j", "output": ["o", "p"]}]},
    ]
    rows = detect(Rows.of(tasks, "ni"), limit=2).rows
    assert [row["input"] for row in rows] == ["i0", "i1", "j"]
    assert rows[2]["references"] == ["p"]
    assert rows.place(2) == "ni, row 2, Instances, row 1"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"Definition": [], "Instances": [{"input": "i", "output": ["o"]}]}, "row 1: 'Definition'"),
        ({"Definition": ["D"], "Instances": [{"input": "i"}]}, "row 1, instance 1"),
        ({"Definition": ["D"], "Instances": [{"input": "i", "output": []}]}, "instance 1"),
        ({"Definition": ["D"], "Instances": []}, "are empty"),
        ({"Definition": ["D"], "Instances": ["i"]}, "an instance is an object, not str"),
    ],
)
def test_malformed_natural_instructions_are_named(task: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        detect(Rows.of([task], "ni"))


def test_the_decision_is_described_with_a_rendered_row() -> None:
    row = {"question": "Where?\nWhen?\x1b", "answer": "x" * 500}
    shown = describe(detect(Rows.of([row], "qa.csv")), row).splitlines()
    assert shown[:3] == [
        "qa.csv: read as pair (columns question, answer).",
        "  prompt: Where?",
        "    When? ",
    ]
    assert shown[3] == f"  completion: {'x' * 400} ... and 100 characters more"


@pytest.fixture
def source(tmp_path: Any) -> str:
    file = tmp_path / "qa.jsonl"
    file.write_text("".join(f'{{"question": "q{n}", "answer": "a{n}"}}\n' for n in range(20)))
    return str(file)


def opened(**data: Any) -> Task:
    (task,) = open_corpus(recipe_from_dict({"data": data})).tasks.values()
    return task


def test_a_task_without_templates_takes_the_format_and_says_so(
    source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    task = opened(source=source)
    assert task.templates.name == "pair"
    assert (len(task.train), len(task.test)) == (17, 3)
    shown = capsys.readouterr().err
    assert "read as pair (columns question, answer)" in shown
    assert "  prompt: q" in shown


def test_what_shows_rows_itself_is_told_the_format_alone(
    source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    open_corpus(recipe_from_dict({"data": {"source": source}}), preview=False)
    assert capsys.readouterr().err == f"{source}: read as pair (columns question, answer).\n"


def test_nothing_is_printed_where_templates_are_given_or_drawing_is_off(
    source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(source=source)
    monkeypatch.setattr(progress, "_enabled", True)
    own = {"prompt": "{{question}}", "completion": "{{answer}}"}
    task = opened(source=source, templates=own)
    assert task.templates.name == "inline"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "completion"),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [BOT]}, "completion"),
        ({"chosen": [USER, BOT], "rejected": [USER, BOT]}, "messages"),
        ({"prompt": "p", "chosen": [USER, BOT], "rejected": [USER, BOT]}, "messages"),
    ],
)
def test_the_better_answers_of_pairs_are_trained_on_if_mapped(
    tmp_path: Any, row: dict[str, Any], column: str
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(row)}\n")
    task = opened(source=str(file), columns={column: "chosen"}, split={"test": 0})
    rendered = task.templates.templates[0].render(task.rows[0])
    assert rendered is not None
    assert rendered.completion == (row["chosen"] if row["chosen"] == "a" else "Hello")


def test_a_task_on_preference_data_is_refused(tmp_path: Any) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"chosen": "a", "rejected": "b"}\n' * 3)
    with pytest.raises(InputError, match=r"pairs\.jsonl: .* preference data"):
        opened(source=str(file))


@pytest.mark.parametrize(
    "row",
    [
        {"system": "S", "instruction": "a", "input": "", "output": "b"},
        {"system": "S", "prompt": "a", "completion": "b"},
        {"system_prompt": "S", "question": "a", "response": "b"},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
                      {"role": "assistant", "content": "b"}]},
    ],
)  # fmt: skip
def test_a_system_text_is_a_system_message_in_every_format(row: dict[str, Any]) -> None:
    detected = detect(Rows.of([row, {**row, "system": None, "system_prompt": None}]))
    (template,) = require_templates(detected)
    rendered = template.render(detected.rows[0])
    assert rendered is not None
    assert rendered.history == ({"role": "system", "content": "S"},)
    assert (rendered.prompt, rendered.completion) == ("a", "b")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"items": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "id": 1},
         "'items' holds chats; write data.columns: {conversations: items}"),
        ({"talk": [USER, BOT]}, "'talk' holds chats; write data.columns: {messages: talk}"),
        ({"data": ["Hi", "Yo"]}, "'data' holds chats; write data.columns: {conversations: data}"),
        ({"messages": json.dumps([USER, BOT])}, "'messages' holds chats as JSON text; write each"),
    ],
)  # fmt: skip
def test_chats_that_are_not_found_are_told_how_they_would_be(
    row: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        require_templates(detect(Rows.of([row])))
    assert says in str(caught.value)
