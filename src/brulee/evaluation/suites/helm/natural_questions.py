"""NaturalQuestions, closed-book and with the long answer as passage.

Files: nq-dev-00.jsonl(.gz) and so on, the development set as Google publishes it. Each line has
document_html, question_text and annotations[] with long_answer and short_answers[] as byte offsets.
Only questions with a short answer are kept; every other one of a file is used for shots.
"""

from __future__ import annotations

import gzip
import html
import random
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from brulee.data.json_text import parse_json
from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import (
    Instance,
    Instances,
    open_question,
    passage_question,
)
from brulee.evaluation.suites.helm.source import Source, count, inside
from brulee.evaluation.suites.rows import Row

Book = Literal["closed", "open"]
Span = tuple[int, int]
_TAG = re.compile("<[^>]*>")


def _files(book: Book, folder: Path, part: str) -> Instances:
    del part
    files = sorted([*folder.glob("nq-dev-*.jsonl"), *folder.glob("nq-dev-*.jsonl.gz")])
    if not files:
        raise InputError(f"{folder}: no file nq-dev-00.jsonl or nq-dev-00.jsonl.gz.")
    rng = random.Random(0)
    solved: list[Instance] = []
    asked: list[Instance] = []
    for file in files:
        answered = (row for row in _lines(file) if _short_answers(row))
        for i, row in enumerate(answered):
            instance = _instance(row, book, rng, i % 2 == 0, f"{file.name.split('.')[0]}/{i}")
            (asked if i % 2 else solved).append(instance)
    return Instances(solved, asked)


def _lines(file: Path) -> Iterator[Row]:
    """The lines one by one, because a file contains whole web pages."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                yield Row(f"{file}, line {number}", parse_json(line, file, number))
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: byte {error.start} is not UTF-8 text.") from None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise InputError(f"{file}: corrupt or truncated gzip; fetch the file again.") from None


def _short_answers(row: Row) -> list[tuple[Span, Span]]:
    """Each short answer with the long answer that contains it, as byte offsets of the page."""
    pairs = []
    for k in count(row, "annotations"):
        long = _span(row, "annotations", k, "long_answer")
        shorts = count(row, "annotations", k, "short_answers")
        pairs += [(_span(row, "annotations", k, "short_answers", i), long) for i in shorts]
    return pairs


def _span(row: Row, *path: str | int) -> Span:
    start, end = (inside(row, *path, name) for name in ("start_byte", "end_byte"))
    if not isinstance(start, int) or not isinstance(end, int):
        raise InputError(f"{row.place}: {'.'.join(map(str, path))} has no byte offsets.")
    return start, end


def _instance(row: Row, book: Book, rng: random.Random, solved: bool, id_: str) -> Instance:
    pairs = _short_answers(row)
    drawn = rng.randint(0, len(pairs) - 1)
    page = row.text("document_html").encode()
    question = row.text("question_text").capitalize()
    asked = question if question.endswith("?") else f"{question}?"
    if book == "open":
        passage = _clean(page, pairs[drawn][1])
        asked = passage_question(passage, asked, "Passage: ", "\n\n")
    answers = [_clean(page, short) for short, _ in pairs]
    return open_question(id_, asked, answers[drawn : drawn + 1] if solved else answers)


def _clean(page: bytes, span: Span) -> str:
    """The text of a byte span without mark-up."""
    start, end = span
    marked = page[start:end].replace(b"\xc2\xa0", b" ").decode(errors="replace")
    return _TAG.sub("", html.unescape(marked))


NATURALQUESTIONS_CLOSED = Source(
    ("natural_questions", "natural_qa", "nq"), partial(_files, "closed")
)
NATURALQUESTIONS_OPEN = Source(("natural_questions", "natural_qa", "nq"), partial(_files, "open"))
