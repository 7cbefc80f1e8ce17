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
from brulee.inference.engine import Engine
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


def test_calls_are_judged_where_they_are_due_and_where_not(
    at: Any,
    brulee: Any,
    tool_model: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base never calls, what is tuned always calls the right tool for parcel 0."""
    written = {"base": "No.", "tuned": '<tool_call>{"name": "track", "arguments": {"parcel": 0, '}
    written["tuned"] += '"\\u00b0": "<|im_end|>0"}}</tool_call>'
    who = iter(["base", "tuned"])

    def generate(_self: Any, prompts: Any, _sampling: Any, done: Any, _places: Any) -> None:
        monkeypatch.setattr(Encoder, "parted", lambda *_, **__: ("", written[name]))
        name = next(who)
        for place in range(len(prompts)):
            done(place, [place])

    monkeypatch.setattr(Engine, "generate", generate)
    changes = recipe(at, tool_model("hermes"))
    called = brulee(*at.run(**changes, evaluate__metrics=["tool_calls", "tool_calls:loose"]))
    assert called.code == 0, called.err
    lines = Path("runs/recipe/eval/tuned/rows-test.jsonl").read_text().splitlines()
    ids = [int(one["id"]) for one in map(json.loads, lines)]
    due = sum(i % 3 == 0 for i in ids)
    assert 0 < due < len(ids)
    found = json.loads(Path("runs/recipe/results.json").read_text())["scores"]
    scores = {(one["who"], one["metric"]): (one["value"], one["n"]) for one in found}
    right = sum(i == 0 for i in ids)
    assert scores["base", "tool_calls"] == (pytest.approx(1 - due / len(ids)), len(ids))
    assert scores["base", "call_made"] == (0, due)
    assert scores["base", "no_call"] == (1, len(ids) - due)
    assert scores["tuned", "call_made"] == scores["tuned", "call_functions:loose"] == (1, due)
    assert scores["tuned", "call_arguments"] == (pytest.approx(right / due), due)
    assert scores["tuned", "no_call"] == (0, len(ids) - due)
    assert "no call where none is due" in Path("runs/recipe/report.html").read_text()


def test_calls_are_judged_while_the_model_is_trained(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    changes = recipe(at, tool_model("hermes"))
    file = at.write(**changes, evaluate__metrics=["tool_calls"], train__generate_every=3)
    called = brulee("train", file)
    assert called.code == 0, called.err
    events = map(json.loads, Path("runs/recipe/events.jsonl").read_text().splitlines())
    looked = [one["scores"] for one in events if one["event"] == "completions"]
    assert looked
    # What was drawn at random calls nothing, and a score that no row has a part in is not there.
    for scores in looked:
        assert 0 <= scores["tool_calls"] <= 1
        assert scores.get("no_call", 1) == 1
        assert scores.get("call_made", 0) == 0
        assert scores.keys() != {"tool_calls"}


def test_a_sweep_does_not_choose_by_a_score_that_no_row_has_a_part_in(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    changes = recipe(at, tool_model("hermes"))
    at.rows([row(i) for i in range(0, 108, 3)])  # all of them call
    file = at.write(**changes, evaluate__metrics=["tool_calls"], train__max_steps=1)
    swept = brulee("sweep", file, "--set", "method.rank=1,2", "--objective", "no_call")
    assert swept.code == 2
    assert "no validation row counts towards no_call" in swept.err
    assert not Path("runs").exists(), "before anything is trained"


def test_calls_that_cannot_be_read_are_not_judged(
    at: Any, brulee: Any, tool_model: Callable[[str], str]
) -> None:
    changes = recipe(at, tool_model("glues"))
    called = brulee(*at.run(**changes, evaluate__metrics=["tool_calls"]))
    assert called.code == 2
    assert "metric tool_calls needs tool calls written as JSON" in called.err
    linted = brulee("data", "lint", "recipe.yaml", "--json")
    assert "not-judged" in {one["code"] for one in linted.json}
    assert brulee("init", "rows.jsonl", "--model", changes["model"]).code == 0
    assert "tool_calls" not in Path("rows.yaml").read_text()


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
    assert "metrics: [tool_calls, exact_match, token_f1]" in Path("rows.yaml").read_text()
    at.rows([row(i) for i in range(0, 108, 3)])
    assert (
        brulee("init", "rows.jsonl", "--model", tool_model("hermes"), "--out", "b.yaml").code == 0
    )
    assert "metrics: [tool_calls]" in Path("b.yaml").read_text()
    # As long as a call with all that is round it, not as it is shown to people.
    call = '<tool_call>{"name": "track", "arguments": {"parcel": 99, "\N{DEGREE SIGN}": "99"}}'
    assert load_recipe(Path("b.yaml")).evaluate.generation.max_new_tokens > len(call) / 2
