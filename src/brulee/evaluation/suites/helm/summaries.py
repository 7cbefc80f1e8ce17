"""Summaries: CNN/DailyMail and XSum.

Files: train, validation and test as .jsonl, .csv or .parquet, with article and highlights, or with
document and summary. Texts are truncated to 512 words; shots have 50 to 150.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import Instance, Instances, open_question
from brulee.evaluation.suites.helm.source import Source, Split
from brulee.evaluation.suites.rows import Row

_MOST_WORDS: Final = 512
_SOLVED_WORDS: Final = range(50, 151)
# Markers of XSum articles that do not match their summaries.
_BROKEN: Final = ("Media playback is unsupported on your device", "Last updated at")
_SHORTEST_SUMMARY: Final = 11
_LONGEST_SHARE: Final = 0.2

_Columns = tuple[str, str]
_CNNDM: Final[_Columns] = ("article", "highlights")
_XSUM: Final[_Columns] = ("document", "summary")


def _files(columns: _Columns, folder: Path, part: str) -> Instances:
    del part
    from brulee.data.sources import open_source

    rows = open_source(str(folder))

    def split(name: str) -> list[Row]:
        return [Row(rows.place(i), rows[i]) for i in rows.published.get(name, [])]

    return _instances(columns, split("train"), [*split("validation"), *split("test")], folder)


def _rows(columns: _Columns, split: Split, part: str) -> Instances:
    del part
    asked = [*split("validation"), *split("test")]
    return _instances(columns, split("train"), asked, None)


def _instances(
    columns: _Columns, solved: Sequence[Row], asked: Sequence[Row], folder: Path | None
) -> Instances:
    if not asked:
        raise InputError(f"{folder}: no file named validation or test.")
    examples = [_instance(columns, row, f"train/{i}") for i, row in enumerate(solved)]
    kept = [e for e in examples if len(e.text.split()) in _SOLVED_WORDS]
    if columns == _XSUM:
        kept = [e for e in kept if _sound(e)]
    return Instances(kept, [_instance(columns, row, str(i)) for i, row in enumerate(asked)])


def _instance(columns: _Columns, row: Row, id_: str) -> Instance:
    article, summary = (row.text(column) for column in columns)
    return open_question(id_, _words(article, _MOST_WORDS), [_words(summary)])


def _sound(example: Instance) -> bool:
    article, summary = len(example.text.split()), len(example.answer.split())
    clean = not any(mark in example.text for mark in _BROKEN)
    return clean and summary >= _SHORTEST_SUMMARY and summary / article <= _LONGEST_SHARE


def _words(text: str, most: int | None = None) -> str:
    return " ".join(text.split()[:most])


CNN_DM = Source(
    ("cnn_dailymail", "cnndm", "summarization_cnndm"),
    partial(_files, _CNNDM),
    "abisee/cnn_dailymail:3.0.0",
    partial(_rows, _CNNDM),
)
XSUM = Source(
    ("xsum", "summarization_xsum"),
    partial(_files, _XSUM),
    "EdinburghNLP/xsum",
    partial(_rows, _XSUM),
)
