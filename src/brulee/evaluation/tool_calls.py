"""Scores of tool calls: whether one is made where one is due, of which function, with what.

Calls are right as the Berkeley Function Calling Leaderboard has it (Patil et al. 2025, "The
Berkeley Function Calling Leaderboard"; `ast_checker.py`, and the categories of relevance and
irrelevance): as many as the reference has, in any order, each of the same function with the same
arguments, none missing and none besides; and where the reference calls nothing, none. It differs
in that a reference has one value for an argument, and texts are equal as they stand (`loose`: as
there, without case, spaces and the signs , . / - _ * ^).

What is compared is JSON: the calls that `made` finds in what a model writes, and those of a row. In
texts from elsewhere they may also stand in <tool_call> tags or behind [TOOL_CALLS], or in the JSON
of an assistant's whole message, as clients of OpenAI print it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Final, final

import numpy as np

from brulee.data.messages import CALLS, as_json, calls_of
from brulee.data.tool_calls import parsed, read_calls
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError
from brulee.evaluation.base import Against, Array, MeanMetric, check_references
from brulee.evaluation.json_values import nfc, same

_BROKEN: Final = "<tool_call>"  # a call is begun, and is none
_FORMS: Final = (WrittenCalls("<tool_call>", "</tool_call>"), WrittenCalls("[TOOL_CALLS]", ""))
_BARE: Final = WrittenCalls("", "")
# JSON that holds what a call does, whole or cut off.
_BEGUN: Final = re.compile(
    r"""[\s\[]*\{(?=.*"name"\s*:)(?=.*"(?:arguments|parameters)"\s*:)""", re.DOTALL
)
_PASSED_OVER: Final = re.compile(r"[ ,./\-_*^]")
_DUE: Final = ("call_made", "call_functions", "call_arguments")

Calls = list[dict[str, Any]]


def made(text: str, form: WrittenCalls) -> str:
    """The calls in what a model writes, of whatever names, as JSON text; "" where it calls nothing.

    A call that is begun and is none is neither.
    """
    _, calls = form.read(text, None)
    if calls:
        return as_json(calls)
    begun = form.before in text if form.before else _BEGUN.match(text)
    return _BROKEN if begun else ""


@final
class ToolCalls(MeanMetric):
    """`tool_calls`: the share of items whose calls, or their absence, are the reference's.

    Where the reference calls: `call_made`, the share with a call at all; `call_functions`, with
    just its functions; `call_arguments`, with its arguments, too. Where it does not: `no_call`, the
    share without a call. A call that is begun and cannot be read is no call and no absence of one.
    """

    summary = "whether the tool calls, or their absence, match the reference"
    against: Against = "calls"
    refuses = True

    def __init__(self, loose: bool = False) -> None:
        self._reads = _loosely if loose else nfc
        self._option = ":loose" * loose
        self.keys = tuple(f"{key}{self._option}" for key in ("tool_calls", *_DUE, "no_call"))
        if loose:
            self.summary = "tool_calls ignoring case, spaces and some punctuation"

    def check(self, references: Sequence[str]) -> None:
        """Raises InputError for no reference, and for one whose call cannot be read."""
        check_references(references)
        for text in references:
            _wanted(text)

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """0 or 1 for each score that the item has a part in: (1,).

        Of several references the one that the calls are nearest to. Raises as `check`.
        """
        check_references(references)
        calls = _calls(prediction)
        each = [self._judged(calls, _wanted(text)) for text in references]
        best = max(each, key=lambda scores: list(scores.values()))
        return {f"{key}{self._option}": np.array([float(v)]) for key, v in best.items()}

    def _judged(self, calls: Calls | None, wanted: Calls) -> dict[str, bool]:
        if not wanted:
            return {"tool_calls": calls == [], "no_call": calls == []}
        found = calls or []
        right = self._told(found) == self._told(wanted)
        functions = _names(found) == _names(wanted)
        values = (bool(found), functions, right)
        return {"tool_calls": right, **dict(zip(_DUE, values, strict=True))}

    def _told(self, calls: Calls) -> Counter[Hashable]:
        return Counter((c["name"], same(c["arguments"], reads=self._reads)) for c in calls)


def _calls(text: str) -> Calls | None:
    """The calls of an answer; None where one is begun and cannot be read."""
    form = next((form for form in _FORMS if form.before in text), None)
    if form:
        return form.read(text, None)[1] or None
    if calls := _BARE.read(text, None)[1]:
        return calls
    try:
        return _parsed(text)
    except InputError:
        return None if _BEGUN.match(text) else []


def _wanted(text: str) -> Calls:
    """The calls of a reference. Raises InputError where what may be one cannot be read."""
    calls = _calls(text)
    if calls is None or (not calls and text.lstrip().startswith(("{", "["))):
        return _parsed(text)
    return calls


def _parsed(text: str) -> Calls:
    """The calls of a text that is JSON. Raises InputError for one that is not, or no call."""
    if text.strip() in ("", "[]"):
        return []
    place = "the calls of a reference (empty where it calls nothing)"
    found = parsed(text, place)
    if isinstance(found, dict) and (CALLS in found or found.get("role") == "assistant"):
        if not found.get(CALLS):
            return []
        text = as_json(found[CALLS])
    read = read_calls(text, place)
    return [called["function"] for called in calls_of({CALLS: read})]


def _names(calls: Calls) -> Counter[str]:
    return Counter(called["name"] for called in calls)


def _loosely(text: str) -> str:
    return _PASSED_OVER.sub("", nfc(text)).lower().replace("'", '"')
