"""The plain texts that are predicted worst, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from brulee.evaluation.bits import BitsPerByte
from brulee.reporting import wording
from brulee.reporting.items import Answer, Item
from brulee.reporting.page_tables import table
from brulee.reporting.results import Results

_MOST: Final = 8  # texts per table
_SHOWN: Final = 80  # characters shown of a text's beginning
_KEY: Final = BitsPerByte.keys[0]


def texts(results: Results, items: Sequence[Item]) -> str:
    """A table of texts, worst first, for each task of several texts scored in bits per byte."""
    measured = [pair.task for pair in results.comparisons if pair.metric == _KEY]
    tables = [
        _table(task, [i for i in items if i.task == task and i.has(_KEY)]) for task in measured
    ]
    shown = "".join(filter(None, tables))
    if not shown:
        return ""
    return (
        "<section><h2>Which texts are hardest?</h2><p>Bits per byte of each test text, over all "
        f"its pieces. The worst after training comes first.</p>{shown}</section>"
    )


def _table(task: str, items: Sequence[Item]) -> str:
    of: dict[str, list[Item]] = {}
    for item in items:
        of.setdefault(str(item.after.id).partition("/")[0], []).append(item)
    if len(of) < 2:
        return ""
    each = [
        (_bits([i.after for i in pieces]), _bits([i.before for i in pieces]), pieces)
        for pieces in of.values()
    ]
    ordered = sorted(each, key=lambda one: -one[0])[:_MOST]
    rows = [
        [escape(_begun(pieces[0].after)), wording.fixed(before), wording.fixed(after),
         str(sum(map(_bytes, (i.after for i in pieces))))]
        for after, before, pieces in ordered
    ]  # fmt: skip
    more = f", the {len(rows)} worst of {len(of)}" if len(of) > len(rows) else ""
    return table(f"Texts of {task}{more}", ("Text", "Before", "After", "Bytes"), rows)


def _begun(answer: Answer) -> str:
    text = " ".join(answer.references[0].split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _bytes(answer: Answer) -> int:
    return len(answer.references[0].encode())


def _bits(answers: Sequence[Answer]) -> float:
    """Bits per byte over all pieces together."""
    bits = sum(answer.scores[_KEY] * _bytes(answer) for answer in answers)
    return bits / max(1, sum(map(_bytes, answers)))
