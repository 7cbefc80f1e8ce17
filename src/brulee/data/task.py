"""A task: rows, the templates that phrase them, their split."""

from __future__ import annotations

import functools
import hashlib
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from brulee.data.encoding import Encoded, Encoder
from brulee.data.messages import CALLS, listed, spoken
from brulee.data.row_checks import render
from brulee.data.shots import Exemplars, FewShot
from brulee.data.sources import Rows
from brulee.data.splits import Splits
from brulee.data.template import Rendered, Template
from brulee.data.templates import TemplateSet
from brulee.data.thoughts import spoken_answer
from brulee.errors import InputError
from brulee.recipe import DataSpec


@dataclass(frozen=True)
class Item:
    """A test row as it is scored: what is read, and what would be right.

    `group` is shared by rows that are not independent, "" where the row has none to share it with;
    `phrasing` is the name of its template.
    """

    id: str
    asked: Rendered
    references: tuple[str, ...]
    group: str = ""
    phrasing: str = ""

    @property
    def prompt(self) -> str:
        """What is read, as people read it: of a chat its tools, every turn with its speaker."""
        if not self.asked.history and not self.asked.tools:
            return self.asked.prompt
        tools = [f"tools:\n{listed(self.asked.tools)}"] if self.asked.tools else []
        return "\n\n".join([*tools, *map(spoken, self.asked.messages)])

    @property
    def called(self) -> str:
        """The tool calls that would be right, as JSON text; "" where none is."""
        return self.asked.answered_with.get(CALLS) or ""


@dataclass(frozen=True)
class Division:
    """The task whose texts were divided into pieces, and of which of its rows each piece is."""

    whole: Task
    of: tuple[int, ...]

    def name(self, piece: int) -> str:
        """The row that a piece is of, with which piece of it this is, where it is one of several.

        "12" and "12/3", for what names test items.
        """
        row = self.of[piece]
        first, end = bisect_left(self.of, row), bisect_right(self.of, row)
        return f"{row}/{piece - first + 1}" if end - first > 1 else str(row)

    def told(self, most: int) -> str:
        """How many texts became how many pieces, in a sentence."""
        used = {*self.whole.train, *self.whole.validation, *self.whole.test}
        pieces = sum(row in used for row in self.of)
        texts = f"{len(used):,} text{'' if len(used) == 1 else 's'}"
        if pieces == len(used):
            return f"{self.whole.name}: {texts}, none longer than train.max_length = {most:,}."
        return (
            f"{self.whole.name}: {texts} in {pieces:,} pieces, each a document of at most "
            f"train.max_length = {most:,} tokens."
        )


@dataclass(frozen=True)
class Task:
    """Rows that can be trained on and scored.

    `templates` are those trained on, `held_out` those kept for the test. `train`, `validation` and
    `test` are row indices with an applicable template and a completion; `dropped` counts the others
    by reason. `labels` are the answer choices, where every row has the same. `division` is that of
    plain texts, whose rows are their pieces then.
    """

    name: str
    spec: DataSpec
    rows: Rows
    templates: TemplateSet
    held_out: tuple[Template, ...]
    splits: Splits
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    dropped: dict[str, int]
    labels: tuple[str, ...] | None
    division: Division | None = None

    @property
    def plain(self) -> bool:
        """Whether its rows are texts without a prompt."""
        return self.templates.plain

    @property
    def whole(self) -> Task:
        """The task with its rows as its source has them."""
        return self.division.whole if self.division else self

    @property
    def cluster(self) -> str | None:
        """The kind of task."""
        return self.spec.cluster or self.templates.cluster

    @property
    def datasets(self) -> frozenset[str]:
        """What the data set that the rows are from is known by: a name, the digests of its files.

        By `dataset` alone where the recipe gives it.
        """
        if self.spec.dataset:
            return frozenset((self.spec.dataset,))
        return frozenset((self.spec.source, *self.rows.digests.values()))

    @functools.cached_property
    def exemplars(self) -> Exemplars:
        """What few-shot prompts of this task may show: its training rows."""
        rows = self.rows
        return Exemplars(self.name, self.train, rows.__getitem__, self.splits.groups, rows.place)

    def phrasing(self, template: Template, row: int, shots: int, key: str) -> Template | FewShot:
        """A template with so many solved training rows, drawn by `key`, before the row."""
        if not shots:
            return template
        return FewShot.draw(template, self.exemplars, row, shots, key)

    def encode(
        self, encoder: Encoder, row: int, template: int, key: str, shots: int = 0
    ) -> Encoded | None:
        """Token ids of a row under a template, cut to fit; InputError naming the row otherwise."""
        phrasing = self.phrasing(self.templates.templates[template], row, shots, key)
        try:
            return encoder.fit(phrasing, self.rows[row], key)
        except InputError as error:
            raise InputError(f"{self.rows.place(row)}: {error}") from None

    def draw(self, encoder: Encoder, row: int, template: int, key: str) -> Encoded:
        """A training document: with examples as often as `shots.share` says, and sure to be one.

        Where a template does not apply or fit, it is the next in order that does. Every row kept
        for training fits the first, so that the search ends.
        """
        reason = InputError(f"{self.rows.place(row)}: no template applies to it.")
        shots = self.shots_of(key)
        for offset in range(len(self.templates)):
            number = (template + offset) % len(self.templates)
            try:
                encoded = self.encode(encoder, row, number, key, shots)
            except InputError as error:
                reason = error
            else:
                if encoded is not None:
                    return encoded
        raise reason

    def shots_of(self, key: str) -> int:
        """How many examples a training draw shows: `shots.count` for a share of the keys."""
        if self.spec.shots is None:
            return 0
        digest = hashlib.blake2b(f"shots\x1f{key}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest) / 2**64
        return self.spec.shots.count if drawn < self.spec.shots.share else 0

    def item(
        self, row: int, encoder: Encoder, room: int | None, template: Template | None = None
    ) -> Item | None:
        """A row under a template (the first), with every reference it has.

        The prompt is cut to `room` tokens as a training document is. None where the template does
        not apply to the row, and for a plain text of which nothing can be predicted. Raises
        InputError naming the row where its prompt cannot be cut to fit, for a reference that is no
        text, and for what the chat template does not show.
        """
        values = self.rows[row]
        template = template or self.templates.templates[0]
        rendered = render(self.rows, row, values, template)
        if rendered is None or not rendered.completion:
            return None
        if rendered.plain:
            if encoder.text_alone(rendered) is None:
                return None
            name = self.division.name(row) if self.division else str(row)
            return Item(name, rendered, (rendered.completion,), self._group(row))
        shots = self.spec.shots.test if self.spec.shots else 0
        phrasing = self.phrasing(template, row, shots, "test")
        further = [*self._references(row, values)]
        try:
            asked = encoder.fit_rendered(phrasing, values, sys.maxsize if room is None else room)
            references = (encoder.answer_text(rendered), *map(encoder.without_thoughts, further))
        except InputError as error:
            raise type(error)(f"{self.rows.place(row)}: {error}") from None
        if asked is None:
            raise InputError(
                f"{self.rows.place(row)}: its prompt under template {template.name!r} does not "
                f"fit into the {room} tokens that the model can read in addition to "
                "evaluate.generation.max_new_tokens, even with the source text cut."
            )
        return Item(str(row), asked, references, self._group(row), template.name)

    def references(self, row: int, template: Template) -> tuple[Rendered, list[str]] | None:
        """A row as a template phrases it with the answers that would be right, whatever the model.

        A turn with more to it than text is there as people read it, without thoughts. None where
        the row is no item. Raises InputError naming the row, as `item`.
        """
        values = self.rows[row]
        rendered = render(self.rows, row, values, template)
        if rendered is None or not rendered.completion:
            return None
        return rendered, [spoken_answer(rendered), *self._references(row, values)]

    def _group(self, row: int) -> str:
        """The number of a row's group in the split, where it holds more than this row."""
        number = self.splits.groups[row] if self.splits.groups else None
        return str(number) if number is not None and self._group_sizes[number] > 1 else ""

    @functools.cached_property
    def _group_sizes(self) -> Counter[int]:
        return Counter(self.splits.groups[row] for row in self.test)

    def _references(self, row: int, values: Mapping[str, Any]) -> Iterator[str]:
        """The further references of a row; a column may hold one or a list of them."""
        for column in self.spec.references:
            value = values.get(column)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, list | dict):
                    raise InputError(
                        f"{self.rows.place(row)}: the column {column!r}, which data.references "
                        "names, has to hold a text or a list of texts."
                    )
                if one is not None and str(one).strip():
                    yield str(one)
