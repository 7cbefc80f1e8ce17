"""Answers that a program reads: JSON and tool calls, from a file to a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.inference.engine import Engine

RUN = Path("runs/recipe")
ROWS = [
    {"note": f"Order {i}: {i % 7 + 1} lamps <b>.", "record": json.dumps({"n": i % 7 + 1, "of": i})}
    for i in range(24)
]
FORM = {"prompt": "{{ note }} As JSON:", "completion": "{{ record }}"}


@pytest.fixture
def orders(at: Any) -> Any:
    at.rows(ROWS)
    at.recipe["data"] |= {"templates": FORM, "split": {"test": 0.25}}
    return at


@pytest.fixture
def never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr(Engine, "generate", asked)


def by_key() -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads((RUN / "results.json").read_text())
    return {(one["who"], one["metric"]): one for one in found["scores"]}


def test_fields_are_scored_before_and_after_and_stand_in_the_report(
    orders: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ['{"n": 1, "of": 2}', "[" * 2000, '{"n": true}', "", "```json\n{}\n```", "NaN"]

    def generate(_self: Any, prompts: Any, _sampling: Any, done: Any, _places: Any) -> None:
        for at in range(len(prompts)):
            done(at, [at])

    monkeypatch.setattr(Engine, "generate", generate)
    monkeypatch.setattr(
        "brulee.data.encoding.Encoder.parted", lambda _self, ids, *_: ("", written[ids[0]])
    )
    done = brulee(*orders.run(evaluate__metrics=["json", "json:fenced:unordered"]))
    assert done.code == 0, done.err
    assert "F1 of JSON fields" in " ".join(done.out.split())
    assert by_key()["base", "json_valid"]["value"] == pytest.approx(2 / 6)
    assert by_key()["base", "json_valid:fenced:unordered"]["value"] == pytest.approx(3 / 6)
    assert by_key()["tuned", "json_f1"]["n"] == 6
    page = (RUN / "report.html").read_text()
    assert "Which fields are right?" in page
    assert "JSON equal to a reference (fenced, unordered)" in page
    # Scored otherwise afterwards, without asking anew; and without JSON there is no table.
    again = brulee(*orders.run(evaluate__metrics=["exact_match"]))
    assert again.code == 0, again.err
    assert "Which fields are right?" not in (RUN / "report.html").read_text()


@pytest.mark.usefixtures("never_asked")
def test_a_reference_that_is_not_json_is_refused_before_the_model_is_asked(
    orders: Any, brulee: Any
) -> None:
    orders.rows([row | ({"record": "{'n': 1}"} if i > 2 else {}) for i, row in enumerate(ROWS)])
    done = brulee(*orders.run(evaluate__metrics=["rouge1", "json"]))
    assert done.code == 2
    (error,) = done.errors
    assert error.startswith("error: rows.jsonl, line ")
    assert "the reference \"{'n': 1}\" is not JSON" in error
    assert not (RUN / "eval").exists()
    linted = brulee("data", "lint", "recipe.yaml", "--json")
    assert linted.code == 2
    (found,) = [one for one in linted.json if one["code"] == "not-judged"]
    assert found["message"].startswith("rows.jsonl, line ")
    assert len(linted.json) > 1  # the other findings are told, too
    assert brulee("data", "lint", orders.write(evaluate__metrics=["rouge1"])).code == 0


@pytest.mark.usefixtures("never_asked")
def test_tool_calls_of_rows_without_tools_are_refused(orders: Any, brulee: Any) -> None:
    done = brulee(*orders.run(evaluate__metrics=["tool_calls"]))
    assert done.code == 2
    assert "rows.jsonl: metric tool_calls judges the calls of chats with tools" in done.err


def test_score_takes_both(brulee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = {"name": "f", "arguments": {"a": 1}}
    Path("p.jsonl").write_text("\n".join(map(json.dumps, [json.dumps([call]), "No.", '{"a": 1}'])))
    Path("r.jsonl").write_text("\n".join(map(json.dumps, [json.dumps(call), "", ""])))
    asked = ["score", "--predictions", "p.jsonl", "--references", "r.jsonl", "--json", "--metrics"]
    found = brulee(*asked, "tool_calls")
    assert found.code == 0, found.err
    of = {one["metric"]: one for one in found.json["scores"]}
    assert {key: one["n"] for key, one in of.items()} == {
        "tool_calls": 3, "call_made": 1, "call_functions": 1, "call_arguments": 1, "no_call": 2,
    }  # fmt: skip
    assert of["no_call"]["low"] < 0.5  # Wilson's interval of two, not of three
    Path("g.txt").write_text("one\none\ntwo\n")
    plain = [word for word in asked if word != "--json"]
    shown = brulee(*plain, "tool_calls", "--groups", "g.txt").out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert lines["tool_calls"].rstrip().endswith("3 in 2 groups")
    assert lines["no_call"].rstrip().endswith(" 2")  # in two groups of their own
    refused = brulee(*asked, "json")
    assert refused.code == 2
    assert "p.jsonl, line 2, and r.jsonl, line 2: metric json" in refused.err
    Path("r.jsonl").write_text('"{}"\n' * 3)
    of = {one["metric"]: one["value"] for one in brulee(*asked, "json").json["scores"]}
    assert of == {"json_f1": 0, "json_precision": 0, "json_recall": 0, "json_match": 0,
                  "json_valid": pytest.approx(2 / 3)}  # fmt: skip


ORDER = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}, "of": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["n", "of"],
    "additionalProperties": False,
}


def test_answers_are_judged_by_a_schema_and_held_to_one(orders: Any, brulee: Any) -> None:
    pytest.importorskip("llguidance")
    pytest.importorskip("jsonschema")
    key = "json_by_schema:order"
    folder = Path(orders.write()).resolve().parent
    (folder / "order.json").write_text(json.dumps(ORDER))
    told = {"evaluate__metrics": ["json:schema=order.json"]}
    done = brulee(*orders.run(**told, evaluate__generation={"max_new_tokens": 60}))
    assert done.code == 0, done.err
    assert by_key()["base", key]["value"] == 0.0
    assert by_key()["base", key]["high"] > 0.1  # of six items that is all that is known
    # The same prompts within a schema are other questions, whose answers are not yet there.
    held = {"max_new_tokens": 60, "json_schema": ORDER}
    again = brulee(*orders.run(**told, evaluate__generation=held))
    assert again.code == 0, again.err
    assert {by_key()[who, key]["value"] for who in ("base", "tuned")} == {1.0}
    assert "valid by the schema (order)" in (RUN / "report.html").read_text()


@pytest.mark.usefixtures("never_asked")
def test_a_schema_that_cannot_be_held_to_is_refused_before_the_model_is_asked(
    orders: Any, brulee: Any
) -> None:
    pytest.importorskip("llguidance")
    wrong = {"json_schema": {"properties": {"n": {"not": {}}}}}
    done = brulee(*orders.run(evaluate__generation=wrong))
    assert done.code == 2
    (error,) = done.errors
    assert "recipe.yaml, line " in error
    assert "evaluate.generation.json_schema.properties.n cannot be enforced" in error


@pytest.mark.usefixtures("never_asked")
def test_a_schema_that_is_none_is_refused_with_the_recipes_line(orders: Any, brulee: Any) -> None:
    pytest.importorskip("jsonschema")
    done = brulee(*orders.run(evaluate__metrics=["json:schema=none.json"]))
    assert done.code == 2
    (error,) = done.errors
    assert "recipe.yaml, line " in error
    assert "none.json: the schema cannot be read" in error
