"""Parses tool calls in generated text by the format that the chat template gives them.

    <tool_call>                               [{"name": "weather", "arguments": {"place": "Rome"}}]
    {"name": "weather", "arguments": {...}}
    </tool_call>                              {"name": "weather", "parameters": {"place": "Rome"}}

The format is what the template puts around the JSON of a call, without control tokens, which
decoded text does not show. If there is nothing else, an answer is a call only if all of it is JSON.
Anything that is not a complete call is text. Formats with the call's name outside the JSON are not
supported.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from brulee.data.json_text import distinct, no_number
from brulee.data.messages import as_json
from brulee.data.tool_calls import read_calls
from brulee.errors import InputError

_ARGUMENTS: Final = ("arguments", "parameters")
_OPENINGS: Final = ("{", "[")
_MORE: Final = ";,"  # separators between calls, in addition to spaces


@dataclass(frozen=True)
class WrittenCalls:
    """The text before and after the JSON of a call or a list of calls; may be empty."""

    before: str
    after: str

    @classmethod
    def of(cls, written: str, control: Collection[str]) -> WrittenCalls | None:
        """Derive the format from an answer that is a single call; None if the call is not JSON.

        `control` are the tokens that decoded text does not show.
        """
        for token in sorted(control, key=len, reverse=True):
            written = written.replace(token, "")
        for start in (at for at, sign in enumerate(written) if sign in _OPENINGS):
            found, stop = _json_at(written, start)
            if list(_calls_in(found)):
                # Only the adjacent words: an empty reasoning block may come before them.
                ends = [*written[:start].split()[-1:], ""], [*written[stop:].split()[:1], ""]
                return cls(ends[0][0], ends[1][0])
        return None

    def read(self, text: str, names: Collection[str] | None) -> tuple[str, list[dict[str, Any]]]:
        """Parse an answer into the text before its calls, and the calls.

        A call is {"name": ..., "arguments": {...}}; `names` are the tools' names, None for any. An
        answer without calls, or with anything but calls after the first, is returned as text.
        """
        start = text.find(self.before) if self.before else len(text) - len(text.lstrip())
        if start < 0:
            return text, []
        try:
            calls = list(self._calls(text, start, names))
        except (InputError, ValueError, RecursionError):
            return text, []
        return (text[:start].rstrip(), calls) if calls else (text, [])

    def safe(self, text: str) -> int:
        """How many characters of a partial answer are text before any call, whatever follows."""
        if not self.before:
            begun = text.lstrip()
            return 0 if not begun or begun.startswith(_OPENINGS) else len(text)
        at = text.find(self.before)
        if at >= 0:
            return len(text[:at].rstrip())
        half = (n for n in range(len(self.before) - 1, 0, -1) if text.endswith(self.before[:n]))
        return len(text[: len(text) - next(half, 0)].rstrip())

    def _calls(self, text: str, at: int, names: Collection[str] | None) -> Iterator[dict[str, Any]]:
        while text[at:].strip():
            if not text.startswith(self.before, at):
                raise ValueError("more than calls")
            found, at = _json_at(text, _after_spaces(text, at + len(self.before)))
            calls = list(_calls_in(found))
            if not calls or any(names is not None and call["name"] not in names for call in calls):
                raise ValueError("no call of these tools")
            yield from calls
            at = _after_spaces(text, at)
            if text.startswith(self.after, at):
                at += len(self.after)
            elif at < len(text):  # at the end of the answer it may be missing
                raise ValueError("more than calls")
            at = _after_spaces(text, at, _MORE)


def _json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at `start` (None if there is none), and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start


_DECODER: Final = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=no_number)


def _calls_in(found: Any) -> Iterator[dict[str, Any]]:
    """The calls in a JSON value that is a call or a list of calls; nothing for anything else."""
    calls = found if isinstance(found, list) else [found]
    read = [_call(call) for call in calls]
    yield from (call for call in read if call is not None and None not in read)


def _call(call: Any) -> dict[str, Any] | None:
    if not isinstance(call, Mapping) or set(call) - {"name", "id", "type", *_ARGUMENTS}:
        return None
    given = [call[key] for key in _ARGUMENTS if key in call]
    if len(given) != 1:
        return None
    try:
        bare = {"name": call.get("name"), "arguments": given[0]}
        read = json.loads(read_calls(as_json(bare), "a call"))[0]["function"]
    except InputError:
        return None
    return {"name": read["name"], "arguments": read["arguments"]}


def _after_spaces(text: str, at: int, more: str = "") -> int:
    while at < len(text) and (text[at].isspace() or text[at] in more):
        at += 1
    return at
