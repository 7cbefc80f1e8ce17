"""Tool calls: one where it is due, the right ones, none where none is due."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.tool_calls import made

TAGGED, BARE = WrittenCalls("<tool_call>", "</tool_call>"), WrittenCalls("", "")


def call(name: str = "f", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def scores(prediction: str, *references: str, name: str = "tool_calls") -> dict[str, float]:
    found = metric(name)
    told = found.statistics(prediction, references)
    assert set(told) <= set(found.keys)
    return {key: found.item(key, values) for key, values in told.items()}


def of(*calls: dict[str, Any]) -> str:
    return json.dumps(list(calls))


DUE = ("tool_calls", "call_made", "call_functions", "call_arguments")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (of(call(a=1, b=[2])), of(call(b=[2.0], a=1)), (1, 1, 1, 1)),
        (of(call(a=1), call("g")), of(call("g"), call(a=1)), (1, 1, 1, 1)),  # in any order
        (of(call(a=1), call(a=2)), of(call(a=2), call(a=1)), (1, 1, 1, 1)),
        (of(call(a=True)), of(call(a=1)), (0, 1, 1, 0)),
        (of(call(a="1")), of(call(a=1)), (0, 1, 1, 0)),
        (of(call(a=1, b=2)), of(call(a=1)), (0, 1, 1, 0)),  # an argument besides
        (of(call()), of(call(a=1)), (0, 1, 1, 0)),  # one missing
        (of(call(a=[1, 2])), of(call(a=[2, 1])), (0, 1, 1, 0)),
        (of(call("g", a=1)), of(call(a=1)), (0, 1, 0, 0)),
        (of(call(a=1)), of(call(a=1), call(a=1)), (0, 1, 0, 0)),  # one of two
        (of(call(a=1), call(a=1)), of(call(a=1)), (0, 1, 0, 0)),
        ("I would call f.", of(call(a=1)), (0, 0, 0, 0)),
        ("<tool_call>{broken", of(call(a=1)), (0, 0, 0, 0)),
        ("", of(call(a=1)), (0, 0, 0, 0)),
    ],
)
def test_where_a_call_is_due(prediction: str, reference: str, expected: tuple[int, ...]) -> None:
    assert scores(prediction, reference) == dict(zip(DUE, expected, strict=True))


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("It is sunny.", 1), ("", 1), ("[]", 1), ('{"weather": "sun"}', 1), ("[1, 2]", 1),
        (of(call()), 0), ("<tool_call>{broken", 0), ("[" * 1_000_000, 1),
        ('{"name": "Ada"}', 1), ('{"name": "f", "parameters": {"a": 1}}', 0),
        ('{"name": "f", "arguments": {"a": "Ro', 0), ('[{"name": "f", "parameters": {"a"', 0),
        ('{"name": "f", "arguments": {"a": 1, "a": 2}}', 0),
        ('{"name": "f", "arguments": {"a": 1e400}}', 0),
        (f"Well.\n<tool_call>{json.dumps(call())}</tool_call>", 0),
        ('{"role": "assistant", "content": "Sunny.", "tool_calls": null}', 1),
        ('{"role": "assistant", "content": "Sunny."}', 1), ('{"tool_calls": 3}', 1),
        ('{"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}', 0),
        ('{"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}', 0),
    ],
)  # fmt: skip
def test_where_none_is_due(prediction: str, right: int) -> None:
    for reference in ("", "It is sunny.", "[]", '{"role": "assistant", "content": "No."}'):
        assert scores(prediction, reference) == {"tool_calls": right, "no_call": right}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(call(a=1)),
        json.dumps({"name": "f", "parameters": {"a": 1}}),
        json.dumps([{"id": "x1", "type": "function",
                     "function": {"name": "f", "arguments": '{"a": 1}'}}]),
        f"<tool_call>\n{json.dumps(call(a=1))}\n</tool_call>",
        f"[TOOL_CALLS] {of(call(a=1))}",
        json.dumps({"tool_calls": [{"id": "x1", "type": "function",
                                    "function": {"name": "f", "arguments": '{"a": 1}'}}]}),
        json.dumps({"role": "assistant", "content": None, "refusal": None,
                    "tool_calls": [{"function": call(a=1)}]}),
    ],
)  # fmt: skip
def test_calls_of_texts_from_elsewhere(text: str) -> None:
    assert scores(text, of(call(a=1.0)))["tool_calls"] == 1
    assert scores(of(call(a=1.0)), text)["tool_calls"] == 1


@pytest.mark.parametrize(
    "reference",
    [
        '{"name": "f", "args": {}}', "<tool_call>{broken", '[{"name": "f"', "[1]",
        '{"name": "f", "arguments": {"a": 1e400}}', '{"name": "f", "parameters": {"a": "Ro',
    ],
)  # fmt: skip
def test_a_reference_whose_call_cannot_be_read_is_refused(reference: str) -> None:
    with pytest.raises(InputError, match="calls of a reference"):
        metric("tool_calls").check([reference])
    with pytest.raises(InputError, match="calls of a reference"):
        scores("", reference)


def test_texts_may_be_compared_as_the_leaderboard_does() -> None:
    one, other = of(call(a="New-York, N.Y.", b=1)), of(call(a="new york ny", b=1))
    assert scores(one, other)["tool_calls"] == 0
    assert scores(one, other, name="tool_calls:loose")["tool_calls:loose"] == 1
    assert scores(of(call(a="it's")), of(call(a='it"s')), name="tool_calls:loose") == {
        f"{key}:loose": 1 for key in DUE
    }
    assert scores(of(call(a=True)), of(call(a=1)), name="tool_calls:loose")["tool_calls:loose"] == 0


def test_of_several_references_the_nearest_counts() -> None:
    assert scores(of(call(a=2)), of(call(a=1)), of(call(a=2)))["tool_calls"] == 1
    assert scores("", of(call(a=1)), "") == {"tool_calls": 1, "no_call": 1}
    assert scores(of(call("g")), "", of(call()))["call_made"] == 1


@pytest.mark.parametrize(
    ("form", "text", "calls"),
    [
        (TAGGED, f"I look.\n<tool_call>{json.dumps(call(a=1))}</tool_call>", [call(a=1)]),
        (TAGGED, f"<tool_call>{json.dumps(call('unheard of'))}</tool_call>", [call("unheard of")]),
        (TAGGED, json.dumps(call(a=1)), []),  # without its tags it is text to whoever serves it
        (TAGGED, "Sunny.", []),
        (TAGGED, '<tool_call>{"name": "f", "arguments": {"a"', None),
        (TAGGED, "<tool_call>" + "[" * 100_000, None),
        (BARE, json.dumps({"name": "f", "parameters": {"a": 1}}), [call(a=1)]),
        (BARE, f"Sure: {json.dumps(call(a=1))}", []),
        (BARE, "{" * 100_000, []),
        (BARE, '{"name": "Ada", "age": 3}', []),
        (BARE, '{"name": "f", "parameters": {"a": "Ro', None),
    ],
)
def test_what_a_model_writes_is_read_in_its_own_form(
    form: WrittenCalls, text: str, calls: list[dict[str, Any]] | None
) -> None:
    found = made(text, form)
    if calls:
        assert json.loads(found) == calls
    assert scores(found, "")["no_call"] == (calls == [])
    assert scores(found, of(call(a=1)))["call_made"] == bool(calls)
