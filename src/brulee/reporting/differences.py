"""Find the words of a text that changed or occur in a reference, for display."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

Operation = Literal["same", "removed", "added"]

_PIECES = re.compile(r"\s+|\w+(?:['’-]\w+)*|[^\w\s]", re.UNICODE)
# ROUGE counts the parts of "well-known" as words of their own.
_PARTS = re.compile(r"\s+|[^\W_]+|[^\w\s]|_", re.UNICODE)
_JOINS = frozenset("-'’_")


def mark(reference: str | Sequence[str], text: str) -> list[tuple[str, bool]]:
    """Split `text` into runs, each flagged if its words occur in the reference (or any of several).

    As in ROUGE-1, order and case do not count, and the parts of a hyphenated word are words. The
    runs join to `text`.
    """
    references = [reference] if isinstance(reference, str) else reference
    known = {_key(piece) for one in references for piece in _PARTS.findall(one) if piece.isalnum()}
    flagged = [(piece, _key(piece) in known) for piece in _PARTS.findall(text)]
    return [
        ("".join(piece for piece, _ in run), inside)
        for inside, run in groupby(_bridge(flagged), key=lambda pair: pair[1])
    ]


def diff(before: str, after: str) -> list[tuple[Operation, str]]:
    """The word-by-word edits from `before` to `after`, with whitespace kept.

    "same" and "removed" join to `before`, "same" and "added" to `after`.
    """
    a, b = _pieces(before), _pieces(after)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    steps: list[tuple[Operation, str]] = []
    removed = added = ""
    for name, a0, a1, b0, b1 in matcher.get_opcodes():
        old, new = "".join(a[a0:a1]), "".join(b[b0:b1])
        # A lone space between two changed words belongs to the change.
        if name == "equal" and not (old.isspace() and (removed or added)):
            steps += [*_change(removed, added), ("same", old)]
            removed = added = ""
        else:
            removed, added = removed + old, added + new
    return steps + _change(removed, added)


def _change(removed: str, added: str) -> list[tuple[Operation, str]]:
    steps: list[tuple[Operation, str]] = [("removed", removed), ("added", added)]
    return [(name, text) for name, text in steps if text]


def _pieces(text: str) -> list[str]:
    return _PIECES.findall(text)


def _key(piece: str) -> str:
    return piece.casefold()


def _bridge(flagged: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Flag what alone separates two flagged words, a space or a hyphen: a phrase is one run."""
    bridged = list(flagged)
    for i in range(1, len(flagged) - 1):
        piece, _ = flagged[i]
        if (piece.isspace() or piece in _JOINS) and flagged[i - 1][1] and flagged[i + 1][1]:
            bridged[i] = (piece, True)
    return bridged
