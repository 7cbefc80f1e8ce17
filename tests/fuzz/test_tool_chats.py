"""Chats with tools of any content: written as the chat template writes them, or refused by name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brulee.data.encoding import Encoded, Encoder
from brulee.data.formats import detect, require_templates
from brulee.data.framing import FramingError
from brulee.data.sources import open_source
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ODD_TEXTS = [
    *("<|im_end|>", "</s>", "<|im_end|", "[TOOL_CALLS]", "</tool_call>", "<|im_start|>user\n"),
    *('"', "\\", "\n", "{{ x }}", "|||", "None", "'", "\u2028", "\u00e9", "\U0001f600"),
]
TEXTS = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.text(st.characters(exclude_categories=("Cs", "Co", "Cc")), max_size=8),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
ARGUMENTS = st.dictionaries(TEXTS, JSON, max_size=3)
ROLES = st.sampled_from(["user", "assistant", "tool", "function_call", "system", None])
ODD_CALLS = st.one_of(
    JSON,
    st.lists(st.fixed_dictionaries({"name": JSON, "arguments": JSON}), max_size=2),
    st.lists(st.fixed_dictionaries({"function": JSON, "type": JSON}), max_size=2),
)
ODD = st.fixed_dictionaries(
    {"role": ROLES, "content": st.none() | TEXTS},
    optional={"tool_calls": ODD_CALLS, "function_call": ODD_CALLS, "thinking": JSON, "name": JSON,
              "tool_call_id": JSON, "weight": JSON},
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(make_tool_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Encoder:
    return Encoder(make_tool_tokenizer("hermes"), max_length=100_000)


def test_whatever_arguments_say_they_are_written_as_the_template_writes_them(
    tmp_path: Path, encoder: Encoder
) -> None:
    special = set(encoder.tokenizer.all_special_tokens)

    @given(st.lists(st.tuples(ARGUMENTS, ARGUMENTS, TEXTS), min_size=1, max_size=3))
    def check(drawn: list[tuple[dict[str, Any], dict[str, Any], str]]) -> None:
        rows = [_row(*values) for values in drawn]
        file = tmp_path / "a.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        detected = detect(open_source(str(file)))
        template = require_templates(detected).templates[0]
        for row, found in zip(rows, detected.rows, strict=True):
            encoded = encoder.fit(template, found)
            assert isinstance(encoded, Encoded)
            options = {"tools": row["tools"], "tokenize": False}
            text = encoder.tokenizer.apply_chat_template(row["messages"], **options)
            assert text == encoder.tokenizer.decode(encoded.ids) + "\n"
            if not any(token in json.dumps([drawn]) for token in special):
                ids = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
                assert list(encoded.ids) == ids[: len(encoded.ids)]
            turns = [i for i in encoded.ids if i == encoder.end_ids[-1]]
            assert len(turns) == 5

    check()


def _row(arguments: dict[str, Any], schema: dict[str, Any], said: str) -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    chat = [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": function}],
        },
        {"role": "tool", "content": said.strip()},
        {"role": "assistant", "content": f"It is {said}.".strip()},
    ]
    tool = {"name": "look", "description": said, "parameters": schema}
    return {"messages": chat, "tools": [{"type": "function", "function": tool}]}


CALLS = [{"name": "f", "arguments": {}}] * 2
CALL = {"role": "assistant", "content": None, "tool_calls": CALLS}
RESULT, END = {"role": "tool", "content": "b"}, {"role": "assistant", "content": "c"}
GOOD = [{"role": "user", "content": "a"}, CALL, RESULT, RESULT, END]


def test_malformed_turns_are_refused_with_their_row(tmp_path: Path, encoder: Encoder) -> None:
    read = 0

    def follow(file: Path) -> str:
        """Take a file as far as it goes; why it goes no further."""
        nonlocal read
        try:
            detected = detect(open_source(str(file)))
            template = require_templates(detected).templates[0]
        except InputError as error:
            return str(error)
        with contextlib.suppress(FramingError):  # a template without reasoning
            read += isinstance(encoder.fit(template, detected.rows[0]), Encoded)
        return ""

    # One part is odd: a turn, the tools, or the text of a turn.
    @given(st.integers(0, 9), ODD, JSON | ODD_CALLS, TEXTS)
    def check(part: int, odd: dict[str, Any], odd_tools: Any, text: str) -> None:
        file = tmp_path / "b.jsonl"
        chat: list[dict[str, Any]] = [dict(turn) for turn in GOOD]
        tools = odd_tools if part == 5 else None
        if part < 5:
            chat[part] = odd
        elif part > 5:
            chat[part - 5]["content"] = text
        file.write_text(json.dumps({"messages": chat, "tools": tools}), encoding="utf-8")
        refused = follow(file)
        assert not refused or refused.startswith(str(file))

    check()
    assert read > 10
