"""Measures the documents of the first training draws in tokens."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from brulee.data.corpus import Corpus
from brulee.data.encoding import Encoded, Encoder, Phrasing
from brulee.data.inspection_lengths import MeasuredDocument
from brulee.data.mixture import Draw, Mixture
from brulee.data.rows import spellings
from brulee.data.shortening import least_history
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.progress import bar

# A maximum length at which nothing is cut.
_UNCUT = 2**31
# Shorter documents are not cut at any length worth comparing.
_SHORT = 64
_TOGETHER = 1000  # draws whose rows are read at once
# The least number of rows measured for every task, however rarely it is drawn.
_PER_TASK = 20


@dataclass(frozen=True)
class Drawn:
    """Documents in the order of training, under the template that was drawn.

    `used` are those trained on: a document that does not fit even when cut gets the next template,
    and is left out if none fits. `further` are additional rows of rarely drawn tasks. `failed` is
    the number of rows that could not be encoded, `problem` the first reason.
    """

    documents: tuple[MeasuredDocument, ...]
    used: tuple[MeasuredDocument, ...]
    further: tuple[MeasuredDocument, ...]
    failed: int
    problem: str


def measure(corpus: Corpus, mixture: Mixture, encoder: Encoder, seed: int, count: int) -> Drawn:
    """Encode the first `count` draws as in training, but uncut."""
    documents: list[MeasuredDocument] = []
    used: list[MeasuredDocument] = []
    problems: list[str] = []
    draws = [mixture.sample(i) for i in range(count)]
    for found in _measured(corpus, draws, encoder, seed):
        if isinstance(found, InputError):
            problems.append(str(found))
            continue
        documents.append(found[0])
        used += found[-1:] if found[-1].fits(encoder.max_length) else []
    drawn = dict.fromkeys(corpus.trained, 0)
    for document in documents:
        drawn[document.part] += 1
    rare = [path for path, times in drawn.items() if times < _PER_TASK]
    more = _measured(corpus, list(_of_rare(corpus, rare)), encoder, seed) if rare else ()
    further = [found[-1] for found in more if isinstance(found, list)]
    problem = next(iter(problems), "")
    return Drawn(tuple(documents), tuple(used), tuple(further), len(problems), problem)


def key_of(seed: int, epoch: int, row: int) -> str:
    """The key that seeds the phrasing of a training draw."""
    return f"{seed}/{epoch}/{row}"


def _of_rare(corpus: Corpus, paths: Iterable[str]) -> Iterator[Draw]:
    for path in paths:
        task = corpus.tasks[path]
        templates = cycle(range(len(task.templates)))
        for row, template in zip(task.train[:_PER_TASK], templates, strict=False):
            yield Draw(path, 0, row, template)


def _measured(
    corpus: Corpus, draws: Sequence[Draw], encoder: Encoder, seed: int
) -> Iterator[list[MeasuredDocument] | InputError]:
    """Measure each document as drawn, then under the next templates until it fits."""
    uncut = copy.copy(encoder)
    uncut.max_length = _UNCUT

    # Rows read ahead of their documents, which are encoded in batches.
    read: deque[dict[str, object]] = deque()

    def items() -> Iterator[tuple[Phrasing, dict[str, object], str]]:
        for draw, row in zip(draws, _rows(corpus, draws), strict=True):
            task, key = corpus.tasks[draw.part], key_of(seed, draw.epoch, draw.row)
            read.append(row)
            yield _phrasing(task, draw, draw.template, key), row, key

    def origin(number: int) -> str:
        return corpus.tasks[draws[number].part].rows.place(draws[number].row)

    with bar("Encoding rows", total=len(draws), unit="rows") as progress:
        documents = uncut.fit_many(items(), origin)
        for draw, first in zip(draws, documents, strict=True):
            task, key = corpus.tasks[draw.part], key_of(seed, draw.epoch, draw.row)
            row = read.popleft()
            found = list(_phrasings(task, draw, row, key, first, encoder.max_length, uncut))
            place = task.rows.place(draw.row)
            reason = first if isinstance(first, InputError) else "no template applies to it."
            yield found or InputError(f"{place}: {reason}")
            progress.advance()


def _rows(corpus: Corpus, draws: Sequence[Draw]) -> Iterator[dict[str, object]]:
    """The row of each draw; rows of a task are read in batches."""
    for start in range(0, len(draws), _TOGETHER):
        part = draws[start : start + _TOGETHER]
        each = {
            path: corpus.tasks[path].rows.some([draw.row for draw in part if draw.part == path])
            for path in {draw.part for draw in part}
        }
        yield from (next(each[draw.part]) for draw in part)


def _phrasings(
    task: Task,
    draw: Draw,
    row: dict[str, object],
    key: str,
    first: object,
    most: int,
    uncut: Encoder,
) -> Iterator[MeasuredDocument]:
    for offset in range(len(task.templates)):
        number = (draw.template + offset) % len(task.templates)
        phrasing = _phrasing(task, draw, number, key)
        full = first if offset == 0 else next(uncut.fit_many([(phrasing, row, key)]))
        if isinstance(full, Encoded):
            fewer: tuple[int, ...] = ()
            least: int | None = None
            if len(full.ids) > min(most, _SHORT) and not task.plain:
                fewer, least = _shorter(phrasing, row, key, full, uncut)
            prompt = len(full.ids) - full.learned
            own = (draw.part, draw.row, number)
            measured = MeasuredDocument(*own, prompt, full.learned, least, fewer, task.plain)
            yield measured
            if measured.fits(most):
                return


def _phrasing(task: Task, draw: Draw, template: int, key: str) -> Phrasing:
    shots = task.shots_of(key)
    return task.phrasing(task.templates.templates[template], draw.row, shots, key)


def _shorter(
    phrasing: Phrasing, row: dict[str, object], key: str, full: Encoded, uncut: Encoder
) -> tuple[tuple[int, ...], int | None]:
    """Lengths with one example less each, and without examples, old turns and longest source."""
    chain = [phrasing]
    while (fewer := chain[-1].fewer) is not None:
        chain.append(fewer)
    encoded = uncut.fit_many([(one, row, key) for one in chain[1:]])
    lengths = tuple(len(one.ids) for one in encoded if isinstance(one, Encoded))
    spelled = spellings(row)
    columns = [spelled[c] for c in phrasing.source_columns if c in spelled]
    texts = {c: v for c in columns if isinstance(v := row[c], str)}
    longest = max(texts, key=lambda c: len(texts[c]), default=None)
    # If the prompt would be empty without its source, keep one character.
    bare = [{**row, longest: t} for t in ("", texts[longest].strip()[:1])] if longest else [row]
    rendered = next(filter(None, (chain[-1].render(one, key) for one in bare)), None)
    if rendered is None:
        return lengths, None
    asked = uncut.encode_question(replace(rendered, history=least_history(rendered)))
    return lengths, len(asked) + len(full.ids) - full.spans[-1][0]
