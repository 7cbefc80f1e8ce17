"""Answers that call tools, or have to: what may come next in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError
from brulee.inference.call_form import HeldCalls, call_form

pytest.importorskip("llguidance")

TAGGED, BARE = WrittenCalls("<tool_call>", "</tool_call>"), WrittenCalls("", "")
WEATHER = {
    "type": "object",
    "properties": {"place": {"$ref": "#/$defs/place"}},
    "required": ["place"],
    "additionalProperties": False,
    "$defs": {"place": {"enum": ["Rome", "Oslo"]}},
}
TOOLS: dict[str, Any] = {
    "weather": (WEATHER, "tools[0]"),
    'ti"me': ({"type": "object", "additionalProperties": False}, "tools[1]"),
}
ANSWER = {"type": "object", "properties": {"sky": {"enum": ["blue"]}}, "required": ["sky"],
          "additionalProperties": False}  # fmt: skip
ROME = '{"name": "weather", "arguments": {"place": "Rome"}}'
NOW = json.dumps({"name": 'ti"me', "parameters": {}})
CALL, TIME = (f"<tool_call>\n{call}\n</tool_call>" for call in (ROME, NOW))


@pytest.fixture(scope="module")
def whole(make_tokenizer: Any) -> Callable[..., bool]:
    """`whole(text, written, besides)`: whether an answer may be this text and end there."""
    tokenizer = make_tokenizer()

    def asked(text: str, written: WrittenCalls, besides: str, one: bool = False) -> bool:
        held, answer = HeldCalls(TOOLS, one, besides), (ANSWER, "s") if besides == "json" else None
        walk = call_form(tokenizer, written, held, answer).begin()
        for token in tokenizer.encode(text, add_special_tokens=False):
            walk.take(token)
            if walk.problem:
                return False
        logits = torch.zeros(300)
        walk.hide(logits, {4})
        return bool(logits[4] == 0.0) or walk.ended

    return asked


@pytest.mark.parametrize(
    ("text", "written", "modes"),
    [
        (CALL, TAGGED, ("", "json", "text")),
        (f"{CALL}\n{TIME}", TAGGED, ("", "json", "text")),
        (f"<tool_call>[{ROME},{NOW}]</tool_call>", TAGGED, ("", "json", "text")),
        (f"I look.\n{CALL}", TAGGED, ("text",)),
        ("It is <tool_ly> sunny.", TAGGED, ("text",)),
        ('{"sky": "blue"}', TAGGED, ("json", "text")),
        ('{"sky": "red"}', TAGGED, ("text",)),
        (CALL.replace("Rome", "Paris"), TAGGED, ()),
        (CALL.replace("weather", "nobody"), TAGGED, ()),
        (f"{CALL} So it is.", TAGGED, ()),
        ("<tool_call>", TAGGED, ()),
        (ROME, TAGGED, ("text",)),
        (ROME, BARE, ("", "json", "text")),
        (f"[{ROME}, {ROME}]", BARE, ("", "json", "text")),
        ('{"sky": "blue"}', BARE, ("json",)),
        (ROME.replace("Rome", "Paris"), BARE, ()),
        ("It is sunny. {}", BARE, ("text",)),
    ],
)
def test_an_answer_is_calls_of_the_tools_or_what_it_may_be_besides(
    whole: Callable[..., bool], text: str, written: WrittenCalls, modes: tuple[str, ...]
) -> None:
    assert tuple(mode for mode in ("", "json", "text") if whole(text, written, mode)) == modes


def test_where_one_call_is_wanted_it_ends_the_answer(whole: Callable[..., bool]) -> None:
    for besides in ("", "json", "text"):
        assert whole(CALL, TAGGED, besides, one=True)
        assert not whole(f"{CALL}\n{TIME}", TAGGED, besides, one=True)
        assert not whole(f"<tool_call>[{ROME},{ROME}]</tool_call>", TAGGED, besides, one=True)


def test_parameters_that_cannot_be_held_to_are_refused_with_their_place(
    make_tokenizer: Any,
) -> None:
    tools = {"f": ({"properties": {"a": {"uniqueItems": True}}}, "tools[0]")}
    with pytest.raises(InputError, match=r"tools\[0\]\.properties\.a cannot be enforced"):
        call_form(make_tokenizer(), TAGGED, HeldCalls(tools))
