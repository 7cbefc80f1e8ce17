"""Shortens a row to fit: fewer exemplars, then a shorter chat, then less of the source text.

Never cut are the instruction, the last answer with its end of turn, a chat's system message, tools
and last prompt, and, if that prompt is a tool's result, everything from the question on that led to
the call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from brulee.data.messages import Message
from brulee.data.rows import spellings
from brulee.data.template import Rendered

_CUTS = 6


class Phrasing(Protocol):
    """Renders a row; `fewer` has one exemplar less, None if there is none to drop."""

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns that may be cut."""

    @property
    def fewer(self) -> Phrasing | None:
        """The same phrasing with one exemplar less."""

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        """A row's prompt and completion; None if the phrasing does not apply."""


class Shortened(NamedTuple):
    """A row that fits, and whether any of its own text was dropped."""

    rendered: Rendered
    cut: bool


def shortened(
    phrasing: Phrasing,
    row: Mapping[str, Any],
    key: str,
    room: int,
    read: Callable[[Rendered], int],
    without_end: Callable[[str, int], str],
) -> Shortened | None:
    """The row with at most `room` tokens before its last answer; None if that is impossible.

    `read` counts those tokens; `without_end(text, n)` removes n tokens from the end of a text.
    """
    rendered = phrasing.render(row, key)
    while (fewer := phrasing.fewer) is not None and (rendered is None or read(rendered) > room):
        phrasing = fewer
        rendered = phrasing.render(row, key)
    if rendered is None:
        return None
    if rendered.plain or (tokens := read(rendered)) <= room:  # a plain text has no prompt
        return Shortened(rendered, False)
    history, tokens = _history_that_fits(rendered, tokens, room, read)
    if tokens <= room:
        return Shortened(replace(rendered, history=history), True)
    found = _with_source_cut(phrasing, row, key, history, tokens, room, read, without_end)
    return None if found is None else Shortened(found, True)


def least_history(rendered: Rendered) -> tuple[Message, ...]:
    """The turns before the prompt that are never dropped."""
    return _shorter_histories(rendered.history, keep_last=rendered.speaker == "tool")[-1]


def _history_that_fits(
    rendered: Rendered, tokens: int, room: int, read: Callable[[Rendered], int]
) -> tuple[tuple[Message, ...], int]:
    """The turns before the prompt, without as many of the oldest exchanges as necessary.

    And the tokens with these turns; there are `tokens` with all of them.
    """
    choices = _shorter_histories(rendered.history, keep_last=rendered.speaker == "tool")
    counts = {0: tokens}

    def fewer(at: int) -> int:
        if at not in counts:
            counts[at] = read(replace(rendered, history=choices[at]))
        return -counts[at]

    # Fewer turns mean fewer tokens, so binary search finds the first that fits.
    at = bisect_left(range(len(choices)), -room, key=fewer)
    at = min(at, len(choices) - 1)
    return choices[at], -fewer(at)


def _shorter_histories(history: Sequence[Message], keep_last: bool) -> list[tuple[Message, ...]]:
    system = tuple(history[:1]) if history and history[0]["role"] == "system" else ()
    begins = [n for n, message in enumerate(history) if message["role"] == "user"]
    ends = begins[1:] if keep_last else [*begins[1:], len(history)]
    return [tuple(history), *((*system, *history[n:]) for n in ends if begins)]


def _with_source_cut(
    phrasing: Phrasing,
    row: Mapping[str, Any],
    key: str,
    history: tuple[Message, ...],
    tokens: int,
    room: int,
    read: Callable[[Rendered], int],
    without_end: Callable[[str, int], str],
) -> Rendered | None:
    """The row with less of its longest source text; None if that is not enough."""
    values = dict(row)
    spelled = spellings(values)
    columns = [spelled[c] for c in phrasing.source_columns if c in spelled]
    texts = [c for c in columns if isinstance(values[c], str)]
    column = max(texts, key=lambda c: len(values[c]), default=None)
    for attempt in range(_CUTS):
        if column is None or not values[column]:
            return None
        values[column] = without_end(values[column], (tokens - room) * 2**attempt)
        rendered = phrasing.render(values, key)
        if rendered is None:
            return None
        rendered = replace(rendered, history=history)
        tokens = read(rendered)
        if tokens <= room:
            return rendered
    return None
