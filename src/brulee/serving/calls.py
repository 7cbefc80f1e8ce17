"""Streaming extraction of tool calls, in OpenAI's format, from an answer's text."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from brulee.data.messages import as_json
from brulee.data.written_calls import WrittenCalls

_ID: Final = 9  # characters of a call's id, as Mistral's chat template requires


class Listening:
    """One answer that may call tools of these `names`; with `one`, at most one call counts."""

    def __init__(self, form: WrittenCalls, names: Collection[str], one: bool) -> None:
        self._form, self._names, self._one = form, names, one
        self._text, self._shown = "", 0

    def piece(self, more: str) -> str:
        """Add a piece; returns the new text to show, without calls or what may become one."""
        self._text += more
        return self._show(self._text, self._form.safe(self._text))

    def ended(self, whole: str) -> tuple[str, str, list[dict[str, Any]]]:
        """The text without calls, the part of it not shown yet, and the calls."""
        text, calls = self._form.read(whole, self._names)
        return (
            text,
            self._show(text, len(text)),
            [_told(c) for c in calls[: 1 if self._one else None]],
        )

    def _show(self, text: str, stop: int) -> str:
        piece = text[self._shown : stop]
        self._shown = max(self._shown, stop)
        return piece


def _told(call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": as_json(call["arguments"])}
    return {"id": uuid.uuid4().hex[:_ID], "type": "function", "function": function}
