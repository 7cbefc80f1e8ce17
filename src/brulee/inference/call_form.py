"""Answers that call tools, or have to: which tokens may come next in them.

    I look.                                         text, where an answer may be one
    <tool_call>                                     what the chat template puts before a call
    {"name": "weather", "arguments": {"a": 1}}      a tool that there is, and what its schema says
    </tool_call>

A grammar in llguidance's language round those of JSON Schemas: the calls are written as
`WrittenCalls` reads them, each tool's arguments are valid by its parameters, and beside calls an
answer may be text, JSON by a schema, or nothing else.
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
    """Calls of tools, by name their parameters, with their places in the request.

    `one`: no more than one call. `besides` is what an answer may be that calls nothing: "text",
    "json" by a schema that is given elsewhere, or "" where a call is due.
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
    """What answers have to be; `answer` is the schema, and its place, of one in JSON.

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
    """The lines of the grammar. Between signs stands as much space as in JSON."""
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
        # As soon as a call is begun there is no text any more.
        found[1:2] = [f"calls: begun SPACE? body{after}{further}"]
        found += [r"TEXT: /(?s:.*)/", f"begun[lazy]: TEXT {_quoted(written.before)}"]
    elif held.besides == "text":
        found.append(r"TEXT: /([^\[{\s](?s:.*))?/")
    return found


def _key(name: str) -> str:
    return f'{_quoted(json.dumps(name))} SPACE? ":" SPACE?'


def _quoted(text: str) -> str:
    """A text as the grammar has it to the letter."""
    return json.dumps(text, ensure_ascii=False)
