"""Each mistake in data, built and found, with the place where it stands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.finding import Finding
from brulee.data.inspection import inspect
from brulee.data.inspection_lint import lint
from brulee.recipe import load_recipe

Found = dict[str, Finding]
WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty"]


@pytest.fixture
def found(
    tmp_path: Path, make_tokenizer: Any, chat_templates: dict[str, str]
) -> Callable[..., Found]:
    """The findings by code for rows (text, label), or for a recipe's own data section."""

    def make(
        rows: list[tuple[str, str]] | None = None,
        data: str = "{source: rows.csv, templates: "
        "{prompt: 'Is it so? {{text}}', completion: '{{label}}'}}",
        train: str = "{}",
        **files: str,
    ) -> Found:
        if rows is not None:
            lines = [f"{text},{label}" for text, label in rows]
            files["rows.csv"] = "\n".join(["text,label", *lines]) + "\n"
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        file = tmp_path / "it.yaml"
        file.write_text(f"model: bundled\ndata: {data}\ntrain: {train}\n")
        recipe = load_recipe(file)
        length = recipe.train.max_length
        encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=length)
        corpus = open_corpus(recipe)
        findings = lint(recipe, corpus, inspect(recipe, corpus, encoder, rows=0))
        assert all(finding.where for finding in findings)
        return {finding.code: finding for finding in findings}

    return make


def clean(count: int = 60) -> list[tuple[str, str]]:
    return [(f"{WORDS[i % 10]} {WORDS[i // 10]} number {i}", f"l{i % 2}") for i in range(count)]


def test_clean_rows_have_no_finding(found) -> None:
    assert set(found(clean())) <= {"few-phrasings"}


def test_repeated_rows(found) -> None:
    finding = found([*clean(), clean()[3]])["duplicate-rows"]
    assert "left out (1 in all)" in finding.message
    assert finding.where == "rows.csv, line 62"


def test_rows_that_say_nearly_the_same(found) -> None:
    story = "the guest asked for a towel and then for a lamp and at last for a room with a view"
    rows = [*clean(30), *((f"{story} {i}", f"l{i % 2}") for i in range(20))]
    assert "19 of 50 rows" in found(rows)["near-duplicate-rows"].message


def test_a_test_row_that_stands_in_train(found) -> None:
    lines = [f"{text},{label}" for text, label in clean()]
    files = {
        "both/train.csv": "\n".join(["text,label", *lines[:50]]) + "\n",
        "both/test.csv": "\n".join(["text,label", *lines[45:]]) + "\n",
    }
    data = "{source: both, templates: {prompt: 'Is it so? {{text}}', completion: '{{label}}'}}"
    finding = found(data=data, **files)["split-leak"]
    assert finding.severity == "error"
    assert "both/test.csv, line 2" in finding.message


def test_what_two_columns_say_is_told_apart(found) -> None:
    sums = "".join(f"{a},{b},{a + b}\n" for a in range(10) for b in range(10))
    rows = {"sums.csv": f"a,b,sum\n{sums}"}
    data = "{source: sums.csv, templates: {prompt: 'Add {{a}} to {{b}}', completion: '{{sum}}'}}"
    assert not {"split-leak", "echo"} & set(found(data=data, **rows))


def test_empty_completions(found) -> None:
    finding = found([*clean(), ("one more", "")])["empty-completion"]
    assert (finding.severity, finding.where) == ("warning", "rows.csv, line 62")


def test_malformed_chats(found) -> None:
    chats = [
        [("user", f"{text}?"), ("assistant", label)][i % 30 == 7 :]
        for i, (text, label) in enumerate(clean())
    ]
    lines = [
        json.dumps({"messages": [{"role": r, "content": c} for r, c in chat]}) for chat in chats
    ]
    data = "{source: chats.jsonl, malformed_chats: skip}"
    finding = found(data=data, **{"chats.jsonl": "\n".join(lines)})["malformed-chats"]
    assert (finding.severity, finding.where) == ("warning", "chats.jsonl")
    assert finding.message == "2 of 60 chats are malformed and left out"


def test_completions_that_are_the_source(found) -> None:
    few = found([*clean(), ("echo", "Echo ")])["echo"]
    assert (few.severity, few.where) == ("warning", "rows.csv, line 62")
    many = found([(text, text) for text, _ in clean()])["echo"]
    assert many.severity == "error"


def test_rows_that_are_cut_and_rows_that_cannot_be(found) -> None:
    rows = [*clean(), ("word " * 100, "l1")]
    finding = found(rows, train="{max_length: 64}")["cut-rows"]
    assert finding.where.endswith("it.yaml, line 3")
    assert "rows.csv, line 62" in finding.message
    rows = [*clean(), ("one more", "word " * 100)]
    message = found(rows, train="{max_length: 64}")["too-long"].message
    assert "1 of 52 rows do not fit in any phrasing" in message


def test_labels_that_no_row_has_and_labels_that_are_never_trained_on(found) -> None:
    choices = "answer_choices: 'l0 ||| l1 ||| l2'"
    data = (
        "{source: rows.csv, split: {test: 0.2}, templates: "
        "{prompt: 'Is it so? {{text}}', completion: '{{label}}', " + choices + "}}"
    )
    assert "'l2'" in found(clean(), data=data)["unused-label"].message
    folder = {
        "both/train.csv": "text,label\n" + "".join(f"{t},{x}\n" for t, x in clean(40)),
        "both/test.csv": "text,label\n" + "".join(f"other {t},l9\n" for t, _ in clean(10)),
    }
    data = "{source: both, templates: {prompt: 'Is it so? {{text}}', completion: '{{label}}'}}"
    assert "'l9'" in found(data=data, **folder)["label-not-trained"].message


def test_a_label_without_a_word_is_the_template_linters(found) -> None:
    rows = [(text, str(i % 3)) for i, (text, _) in enumerate(clean())]
    data = (
        "{source: rows.csv, templates: {prompt: 'Is it so? {{text}}', "
        "completion: '{% if label != 2 %}{{answer_choices[label]}}{% else %}??{% endif %}', "
        "answer_choices: 'no ||| yes'}}"
    )
    assert found(rows, data=data)["completion-not-a-choice"].severity == "error"


@pytest.mark.parametrize(
    ("labels", "code"),
    [(["l0"] * 60, "one-label"), ((["l0"] * 98 + ["l1", "l1"]) * 2, "label-imbalance")],
)
def test_labels_out_of_balance(found, labels: list[str], code: str) -> None:
    rows = [(f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {i}", label) for i, label in enumerate(labels)]
    choices = "answer_choices: 'l0 ||| l1'"
    data = (
        "{source: rows.csv, templates: "
        "{prompt: 'Is it so? {{text}}', completion: '{{label}}', " + choices + "}}"
    )
    assert code in found(rows, data=data)


def test_tasks_drawn_for_less_than_one_epoch_and_for_more_than_ten(found) -> None:
    def csv(name: str, count: int) -> str:
        return "text,label\n" + "".join(f"{name} {t},{x}\n" for t, x in clean(count))

    phrased = "templates: {prompt: 'Is it so? {{text}}', completion: '{{label}}'}"
    data = (
        "\n  tasks:\n"
        f"    - {{source: small.csv, weight: 3, {phrased}}}\n"
        f"    - {{source: large.csv, weight: 1, {phrased}}}\n"
        "  mix: {kind: weights}"
    )
    files = {"small.csv": csv("small", 10), "large.csv": csv("large", 90)}
    findings = found(data=data, train="{epochs: 2}", **files)
    many, few = findings["many-epochs"], findings["few-epochs"]
    assert (many.family, few.family) == ("small", "large")
    assert many.where.endswith("it.yaml, line 4")
    assert few.where.endswith("it.yaml, line 5")
    assert "epochs: it will be memorised" in many.message
    assert "some of them are never seen" in few.message


def test_a_finding_about_an_inline_template_names_its_line_in_the_recipe(found) -> None:
    assert found(clean())["few-phrasings"].where.endswith("it.yaml, line 2")


def test_a_chat_that_repeats_its_question_is_an_echo(found) -> None:
    def chat(*texts: str) -> str:
        roles = ("user", "assistant") * 2
        turns = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
        return json.dumps({"messages": turns})

    chats = [chat(f"{text}?", f"{text}!", "and?", label) for text, label in clean()]
    rows = {"chats.jsonl": "\n".join([*chats, chat("Say it", "say it")])}
    finding = found(data="{source: chats.jsonl}", **rows)["echo"]
    assert finding.where == "chats.jsonl, line 61"


@pytest.mark.parametrize(
    ("metrics", "rationale", "told"),
    [
        ("[exact_match]", "with", True),
        ("[final_answer]", "with", False),
        ("[rouge]", "with", False),
        ("[exact_match]", "without", False),
    ],
)
def test_reasoning_that_is_compared_in_full_is_told(
    found, metrics: str, rationale: str, told: bool
) -> None:
    rows = [
        {"question": f"How many are {i} and {i}, {said}?", "answer": f"They are {2 * i}.\n#### {i}"}
        for i, (said, _) in enumerate(clean(40))
    ]
    options = f"templates: gsm8k, rationale: {rationale}, metrics: {metrics}"
    lines = "\n".join(map(json.dumps, rows))
    findings = found(data=f"{{source: rows.jsonl, {options}}}", **{"rows.jsonl": lines})
    assert ("reasoning-scored" in findings) == told
    if told:
        assert "it.yaml, line 2" in findings["reasoning-scored"].where
        assert "final_answer compares only the answer" in findings["reasoning-scored"].message
