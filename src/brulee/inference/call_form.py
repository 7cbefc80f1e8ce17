"""Decoding constrained to tool calls: which tokens may come next.

    I look.                                         text, where allowed
    <tool_call>                                     what the chat template puts before a call
    {"name": "weather", "arguments": {"a": 1}}      an existing tool, arguments by its schema
    </tool_call>

A grammar in llguidance's language around those of JSON Schemas: calls have the format that
`WrittenCalls` parses, each tool's arguments are valid by its parameters, and instead of calls an
answer may be text, JSON by a schema, or neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brulee.data.written_calls import WrittenCalls
from brulee.inference.json_form import Form, form_of, json_form, json_grammar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class HeldCalls:
    """Constraints on tool calls: by tool name, its parameters and their place in the request.

    `one`: at most one call. `besides` is what an answer without calls may be: "text", "json" by a
    schema passed separately, or "" if a call is required.
    """

    tools: Mapping[str, tuple[Mapping[str, Any], str]]
    one: bool = False
    besides: str = ""


def call_form(
    tokenizer: PreTrainedTokenizerBase,
    written: WrittenCalls,
    held: HeldCalls,
    answer: tuple[Mapping[str, Any], str] | None = None,
) -> Form:
    """The form of answers; `answer` is the schema, with its place, of an answer in JSON.

    Raises InputError as `json_form` for each schema, naming its place.
    """
    schemas = [*held.tools.values(), *([] if answer is None else [answer])]
    for schema, place in schemas:
        json_form(tokenizer, schema, place)
    text = "\n".join(_rules(written, held, None if answer is None else answer[0]))
    return form_of(tokenizer, text, written.before + written.after + "".join(held.tools))


def _rules(
    written: WrittenCalls, held: HeldCalls, answer: Mapping[str, Any] | None
) -> Sequence[str]:
    """The lines of the grammar. Whitespace is limited as in JSON."""
    tools = list(held.tools.items())
    named = " | ".join(f"named_{number}" for number in range(len(tools)))
    before = f"{_quoted(written.before)} SPACE? " if written.before else ""
    after = f" SPACE? {_quoted(written.after)}" if written.after else ""
    further = "" if held.one else " (SPACE? call)*"
    starts = {"": "calls", "json": "calls | answer", "text": "calls | TEXT"}
    found = [
        f"start: {starts[held.besides]}",
        f"calls: call{further}",
        f"call: {before}body{after}",
        "body: object" if held.one else 'body: object | "[" SPACE? objects SPACE? "]"',
        'objects: object (SPACE? "," SPACE? object)*',
        f'object: "{{" SPACE? {_key("name")} ({named}) SPACE? "}}"',
        r"SPACE: / |\n {0,32}/",
    ]
    for number, (name, (schema, _)) in enumerate(tools):
        keys = f"({_key('arguments')} | {_key('parameters')})"
        told = f'{_quoted(json.dumps(name, ensure_ascii=False))} SPACE? "," SPACE? {keys}'
        found += [
            f"named_{number}: {told} arguments_{number}",
            f"arguments_{number}: {json_grammar(schema)}",
        ]
    if answer is not None:
        found.append(f"answer: {json_grammar(answer)}")
    if held.besides == "text" and written.before:
        # No text may follow the beginning of a call.
        found[1:2] = [f"calls: begun SPACE? body{after}{further}"]
        found += [r"TEXT: /(?s:.*)/", f"begun[lazy]: TEXT {_quoted(written.before)}"]
    elif held.besides == "text":
        found.append(r"TEXT: /([^\[{\s](?s:.*))?/")
    return found


def _key(name: str) -> str:
    return f'{_quoted(json.dumps(name))} SPACE? ":" SPACE?'


def _quoted(text: str) -> str:
    """A text as a literal of the grammar."""
    return json.dumps(text, ensure_ascii=False)
