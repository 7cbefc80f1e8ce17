"""Finds test rows that occur in the training rows: coverage, longest shared span, both locations.

The raw texts of rows are compared, before any template, without labels and ids (row_texts.py).
Boilerplate is left out: 8-grams that occur in more than ten training rows, such as an instruction
that every row repeats. So are list markers (letters, numbers and bullets), in which copies of
answer options differ between files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from brulee.data.common_grams import common_grams
from brulee.data.list_marks import unmarked
from brulee.data.ngrams import BOUNDARY, Grams, Texts, Vocabulary, covered, windows
from brulee.data.overlap import Overlap, Span
from brulee.data.row_texts import RowTexts, row_texts
from brulee.data.sought import LONG, SHORT, Sought, TrainedTexts
from brulee.data.stored_texts import CHUNK, StoredTexts
from brulee.data.words import extract
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.data.task import Task

COVERED: Final = 0.8
COMMON_ROWS: Final = 10

Reason = Literal["13-gram", "8-grams", "whole text"]


@dataclass(frozen=True)
class Match:
    """What a test row has in common with the training rows.

    `row` is its index in its source, `words` the number of words compared; `coverage_8` and
    `coverage_13` are the shares of these inside 8-grams and 13-grams of training rows. `span` is
    the longest run of words that also occurs in a training row, row `trained_row` of
    `trained_source`. `reason` says why the row is dirty; None for a clean one.
    """

    row: int
    place: str
    words: int
    coverage_8: float
    coverage_13: float
    reason: Reason | None = None
    span: str = ""
    span_words: int = 0
    trained_source: str | None = None
    trained_row: int | None = None
    trained_place: str | None = None

    @property
    def dirty(self) -> bool:
        """Whether the row counts as seen in training."""
        return self.reason is not None


@dataclass(frozen=True)
class _Read:
    """The texts of test rows as given, and as word numbers, without the words that are `common`."""

    given: Sequence[tuple[int, str]]
    texts: Texts
    common: NDArray[np.bool_]


def trained_texts(task: Task, name: str) -> RowTexts:
    """The texts of a task's training rows in the columns its templates read, without label words.

    Raises InputError if there are no training rows.
    """
    return _texts(task, name, task.train)


def scored_texts(task: Task, name: str) -> RowTexts:
    """Like `trained_texts`, for a task's test rows. Raises InputError if there are none."""
    return _texts(task, name, task.test)


def _texts(task: Task, name: str, rows: Sequence[int]) -> RowTexts:
    templates = (*task.templates, *task.held_out)
    read = {column for template in templates for column in template.columns}
    return row_texts(name, task.rows, rows, read, task.labels or ())


class Index:
    """The words of training rows, in which test rows are looked for.

    Only what test rows have in common with them is indexed, in one pass over a temporary file (4
    bytes a word). Memory: the vocabulary, at most 256 MB of counts, the 8-grams that occur in more
    than `common_rows` rows (boilerplate), and the training texts that hold something of the test
    rows. Raises InputError if the rows have no text at all.
    """

    def __init__(self, trained: Sequence[RowTexts], common_rows: int = COMMON_ROWS) -> None:
        self._trained = tuple(trained)
        self._first_rows = np.cumsum([0, *map(len, trained)])
        self._labels = frozenset().union(*(source.label_words for source in trained))
        self._vocabulary = Vocabulary()
        stored = StoredTexts(self._vocabulary.learn(self._numbered(), CHUNK))
        if not stored.words:
            names = ", ".join(source.name for source in trained)
            raise InputError(f"{names or 'training'}: no training row holds text to compare with.")
        self._common = common_grams(stored, SHORT, common_rows)
        if len(self._common):
            stored = stored.changed(
                lambda texts: texts.without(_standing_in(texts, self._common)),
                "Leaving out boilerplate",
            )
        self._stored = stored

    @property
    def words(self) -> int:
        """The number of words indexed, without boilerplate."""
        return self._stored.words

    def __len__(self) -> int:
        return int(self._first_rows[-1])

    def search(self, tested: RowTexts) -> list[Match]:
        """Match each test row with the training rows, in the order of the test rows.

        A row is dirty if

        - 13 consecutive words of it occur in a training row ("13-gram"), the rule of GPT-3 (Brown
          et al. 2020, arXiv:2005.14165, appendix C) and FLAN (Wei et al. 2021, arXiv:2109.01652);
        - or 80 % of its words are inside 8-grams of training rows ("8-grams"), which also finds
          copies with a few changed words, and rows too short for the first rule. PaLM (Chowdhery et
          al. 2022, arXiv:2204.02311) requires 70 % of the 8-grams; a share of words is used here,
          as a changed word affects fewer words than 8-grams;
        - or it has no text of 13 words, and all of its texts are whole texts of the same training
          row ("whole text"): a copied question with short choices in separate columns has few words
          in 8-grams.

        As in GPT-3, text that occurs in more than ten training rows is left out on both sides; a
        row with only such text, of eight words or more, is dirty by its 8-grams. The span is the
        longest extension of an n-gram's first occurrence. Raises InputError if the test rows have
        no text.
        """
        return self.search_all([tested])[0]

    def search_all(self, tested: Sequence[RowTexts]) -> list[list[Match]]:
        """Like `search`, for several sets of test rows in one pass over the training rows."""
        read = [self._read(rows) for rows in tested]
        sought = Sought([one.texts for one in read])
        kept = [part.chosen(sought.held_in(part)) for part in self._stored.read("Comparing words")]
        trained = TrainedTexts(Texts.joined(kept))
        return [self._search(rows, one, trained) for rows, one in zip(tested, read, strict=True)]

    def _read(self, tested: RowTexts) -> _Read:
        given = [(row, unmarked(text)) for row, text in tested.texts(self._labels)]
        read = self._vocabulary.read(given)
        if not np.any(read.words != BOUNDARY):
            raise InputError(f"{tested.name}: no row holds text to compare.")
        common_T = _standing_in(read, self._common)
        return _Read(given, read.without(common_T), common_T)

    def _search(self, tested: RowTexts, read: _Read, trained: TrainedTexts) -> list[Match]:
        texts = read.texts
        overlap = Overlap(trained.texts, texts, len(tested))
        short, long = (overlap.hits(trained.grams[n]) for n in (SHORT, LONG))
        words = overlap.count(texts.words != BOUNDARY)
        boilerplate_only = (words == 0) & (overlap.count(read.common) >= SHORT)
        coverage_8 = overlap.covered(short, SHORT) / np.maximum(words, 1)
        coverage_13 = overlap.covered(long, LONG) / np.maximum(words, 1)
        mostly = set(np.flatnonzero((coverage_8 >= COVERED) | boilerplate_only).tolist())
        whole = overlap.whole(trained.whole)
        spans = overlap.spans([short, long]) | whole
        reasons: dict[int, Reason] = dict.fromkeys(whole, "whole text")
        reasons |= dict.fromkeys(mostly, "8-grams")
        reasons |= dict.fromkeys(overlap.items_of(long), "13-gram")
        plain = (
            Match(i, tested.place(k), int(words[k]), float(coverage_8[k]), float(coverage_13[k]))
            for k, i in enumerate(tested.indices)
        )
        return [
            self._located(match, reasons.get(k), spans.get(k), read, trained.texts)
            for k, match in enumerate(plain)
        ]

    def _located(
        self,
        match: Match,
        reason: Reason | None,
        span: Span | None,
        read: _Read,
        trained: Texts,
    ) -> Match:
        """A match with its reason, the text of its span and the location of its training row."""
        if span is None:
            return replace(match, reason=reason)
        text = int(read.texts.text_of(np.array(span.tested)))
        first = span.tested - int(read.texts.starts[text])
        row = int(trained.owner_of(np.array(span.trained)))
        at = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        source, number = self._trained[at], row - int(self._first_rows[at])
        return replace(
            match,
            reason=reason,
            span=extract(read.given[text][1], first, first + span.length - 1),
            span_words=span.length,
            trained_source=source.name,
            trained_row=source.indices[number],
            trained_place=source.place(number),
        )

    def _numbered(self) -> Iterator[tuple[int, str]]:
        """Every training text, with the number of its row among the rows of all sources."""
        return chain.from_iterable(
            ((int(first) + number, unmarked(text)) for number, text in source.texts())
            for first, source in zip(self._first_rows, self._trained, strict=False)
        )


def _standing_in(texts: Texts, grams: Grams) -> NDArray[np.bool_]:
    """Which words are inside one of the n-grams."""
    if not len(grams):
        return np.zeros(len(texts.words), dtype=np.bool_)
    positions = windows(texts.words, grams.size)
    found = grams.find(texts.words, positions) >= 0
    return covered(len(texts.words), positions[found], grams.size)
