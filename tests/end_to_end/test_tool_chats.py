"""Chats with tools, from a file to a report: trained on, scored by the turn that calls."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.lengths import fitting_rows
from brulee.recipe import load_recipe

TOOL = {
    "name": "track",
    "description": "Where a parcel is.",
    "parameters": {"type": "object", "properties": {"parcel": {"type": "integer"}}},
}


def row(i: int) -> dict[str, Any]:
    """A question that is answered with a call, or with the call's result, or without any tool."""
    user = {"role": "user", "content": f"Where is parcel {i}?"}
    if i % 3 == 2:
        return {"messages": [user, {"role": "assistant", "content": f"Ask {i} others."}]}
    arguments = {"parcel": i, "\N{DEGREE SIGN}": f"<|im_end|>{i}"}
    function = {"name": "track", "arguments": arguments if i % 2 else json.dumps(arguments)}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    result = {"role": "tool", "content": f"on shelf {i}"}
    end = [result, {"role": "assistant", "content": f"It is on shelf {i}."}]
    return {"messages": [user, call, *(end if i % 3 else [])], "tools": [TOOL]}


@pytest.fixture
def tool_model(
    tmp_path: Path, make_base: Callable[..., Any], make_tool_tokenizer: Callable[[str], Any]
) -> Callable[[str], str]:
    """Saves a tiny Llama with a chat template that knows tools."""

    def save(name: str) -> str:
        base = make_base("llama", vocab_size=320)
        folder = tmp_path / name
        base.model.save_pretrained(folder)
        replace(base, tokenizer=make_tool_tokenizer(name)).tokenizer.save_pretrained(folder)
        return str(folder)

    return save


def recipe(at: Any, model: str) -> dict[str, Any]:
    at.rows([row(i) for i in range(36)])
    data = {"source": "rows.jsonl", "split": {"test": 0.25, "validation": 0.1}}
    return {"model": model, "data": data, "train__max_length": 512}


def test_calls_are_trained_on_and_are_the_reference(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    called = brulee(*at.run(**recipe(at, tool_model("hermes"))))
    assert called.code == 0, called.err
    assert "every one is learned; with tools" in called.err
    lines = Path("runs/recipe/eval/tuned/rows-test.jsonl").read_text().splitlines()
    found = {int(one["id"]): one for one in map(json.loads, lines)}
    tools = "tools:\ntrack(parcel): Where a parcel is.\n\n"
    for i, answer in found.items():
        asked = f"user: Where is parcel {i}?"
        written = f'{{"parcel": {i}, "\N{DEGREE SIGN}": "<|im_end|>{i}"}}'
        if i % 3 == 0:
            assert answer["prompt"] == tools + asked
            (reference,) = answer["references"]
            assert reference.startswith('<tool_call>\n{"name": "track", "arguments": {"parcel": ')
            assert written in reference
        elif i % 3 == 1:
            result = f"\n\nassistant: track({written})\n\ntool: on shelf {i}"
            assert answer["prompt"] == tools + asked + result
            assert answer["references"] == [f"It is on shelf {i}."]
        else:
            assert answer["prompt"] == f"Where is parcel {i}?" or answer["prompt"] == asked
    assert {i % 3 for i in found} == {0, 1, 2}
    page = Path("runs/recipe/report.html").read_text(encoding="utf-8")
    assert "track(parcel): Where a parcel is." in page


def test_inspect_and_lint_show_what_is_read(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    file = at.write(**recipe(at, tool_model("mistral")))
    refused = brulee("data", "inspect", file)
    assert refused.code == 2
    assert refused.errors[0].startswith("error: rows.jsonl, line ")
    assert "Tool call IDs should be alphanumeric strings with length 9!" in refused.errors[0]
    file = at.write(**recipe(at, tool_model("hermes")))
    shown = brulee("data", "inspect", file, "--json")
    assert shown.code == 0, shown.err
    assert shown.json["left_out"] == 0
    assert brulee("data", "lint", file).code == 0


def test_inspect_counts_the_chats_whose_calls_leave_no_room(
    at: Any, brulee: Any, tool_model: Callable[[str], str], make_tool_tokenizer: Any
) -> None:
    changes = recipe(at, tool_model("hermes"))
    for i, length in enumerate((150, 200, 250, 300)):
        file = at.write(f"{i}.yaml", **{**changes, "train__max_length": length})
        (task,) = open_corpus(load_recipe(file)).tasks.values()
        encoder = Encoder(make_tool_tokenizer("hermes"), max_length=length)
        fitting = len(fitting_rows(task, encoder, task.train).rows)
        shown = brulee("data", "inspect", file, "--json").json
        assert (length, shown["left_out"]) == (length, len(task.train) - fitting)


@pytest.mark.parametrize("name", ["ignores", "llama"])
def test_a_model_that_cannot_show_them_is_refused_with_the_row(
    at: Any, brulee: Any, tool_model: Callable[[str], str], name: str
) -> None:
    arguments = recipe(at, tool_model(name))
    rows = [row(i) for i in range(36)]
    rows[30]["messages"][1]["tool_calls"] *= 2
    at.rows(rows)
    called = brulee(*at.run(**arguments))
    assert called.code == 2
    assert len(called.errors) == 1
    expected = "line 31: " if name == "llama" else "does not show the descriptions of tools"
    assert expected in called.errors[0]


def test_a_recipe_is_begun_for_tools_only_where_the_model_shows_them(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    at.rows([row(i) for i in range(36)])
    refused = brulee("init", "rows.jsonl", "--model", at.model)
    assert refused.code == 2
    assert "rows.jsonl, line " in refused.err
    assert "does not show" in refused.err
    assert not Path("rows.yaml").exists()
    begun = brulee("init", "rows.jsonl", "--model", tool_model("hermes"))
    assert begun.code == 0, begun.err
    assert Path("rows.yaml").is_file()
