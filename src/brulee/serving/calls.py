"""Tool calls of an answer, as clients of OpenAI read them, told from its text as it is written."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from brulee.data.messages import as_json
from brulee.data.written_calls import WrittenCalls

_ID: Final = 9  # letters and digits of a call's id: as many as Mistral's chat template takes


class Listening:
    """One answer that may call tools of these `names`; `one`: no more than one of them."""

    def __init__(self, form: WrittenCalls, names: Collection[str], one: bool) -> None:
        self._form, self._names, self._one = form, names, one
        self._text, self._shown = "", 0

    def piece(self, more: str) -> str:
        """What may be shown of it, now that more is written: no call, nor what may become one."""
        self._text += more
        return self._show(self._text, self._form.safe(self._text))

    def ended(self, whole: str) -> tuple[str, str, list[dict[str, Any]]]:
        """Its text without the calls, what of that was not shown yet, and the calls."""
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
