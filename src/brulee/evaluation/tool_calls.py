"""Scores of tool calls: whether the model makes the expected calls, functions and arguments.

Correctness follows the Berkeley Function Calling Leaderboard (Patil et al. 2025, "The Berkeley
Function Calling Leaderboard"; `ast_checker.py`, and the categories relevance and irrelevance): as
many calls as the reference has, in any order, each of the same function with the same arguments,
none missing and none extra; and no calls if the reference has none. It differs in that a reference
has one value per argument, and texts must be identical (`loose`: as in the leaderboard, ignoring
case, spaces and the characters , . / - _ * ^).

Calls are compared as JSON: those that `made` finds in a model's output, and those of a row. Texts
from elsewhere may also have calls in <tool_call> tags, after [TOOL_CALLS], or in the JSON of an
assistant's whole message, as OpenAI clients print it.
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

_BROKEN: Final = "<tool_call>"  # stands for a call that begins but cannot be parsed
_FORMS: Final = (WrittenCalls("<tool_call>", "</tool_call>"), WrittenCalls("[TOOL_CALLS]", ""))
_BARE: Final = WrittenCalls("", "")
# The beginning of JSON with a call's keys, complete or truncated.
_BEGUN: Final = re.compile(
    r"""[\s\[]*\{(?=.*"name"\s*:)(?=.*"(?:arguments|parameters)"\s*:)""", re.DOTALL
)
_PASSED_OVER: Final = re.compile(r"[ ,./\-_*^]")
_DUE: Final = ("call_made", "call_functions", "call_arguments")

Calls = list[dict[str, Any]]


def made(text: str, form: WrittenCalls) -> str:
    """The calls in a model's output, to any function, as JSON text; "" if there are none.

    A call that begins but cannot be parsed gives `_BROKEN`.
    """
    _, calls = form.read(text, None)
    if calls:
        return as_json(calls)
    begun = form.before in text if form.before else _BEGUN.match(text)
    return _BROKEN if begun else ""


@final
class ToolCalls(MeanMetric):
    """`tool_calls`: the share of items whose calls, or their absence, match the reference.

    If the reference has calls: `call_made`, the share with any call; `call_functions`, with exactly
    its functions; `call_arguments`, also with its arguments. If it has none: `no_call`, the share
    without a call. A call that begins but cannot be parsed counts neither as a call nor as none.
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
        """Raise InputError for no reference, and for one whose calls cannot be parsed."""
        check_references(references)
        for text in references:
            _wanted(text)

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """0 or 1 for each score that applies to the item: (1,).

        With several references, uses the one that gives the best scores. Raises as `check`.
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
    """The calls of an answer; None if one begins but cannot be parsed."""
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
    """The calls of a reference. Raises InputError if a possible call cannot be parsed."""
    calls = _calls(text)
    if calls is None or (not calls and text.lstrip().startswith(("{", "["))):
        return _parsed(text)
    return calls


def _parsed(text: str) -> Calls:
    """The calls of a JSON text. Raises InputError if it is not JSON or not a call."""
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
