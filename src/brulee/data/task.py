"""A task: rows, their templates and their split."""

from __future__ import annotations

import functools
import hashlib
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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

MALFORMED: Final = "malformed chat"


@dataclass(frozen=True)
class Item:
    """A test row as it is scored: the prompt and the references.

    Rows that are not independent share a `group`; "" for a row alone in its group. `phrasing` is
    the name of its template, `place` where the row is: "chats.jsonl, line 18".
    """

    id: str
    asked: Rendered
    references: tuple[str, ...]
    group: str = ""
    phrasing: str = ""
    place: str = ""

    @property
    def prompt(self) -> str:
        """The prompt for people to read; for a chat, its tools and every turn with its speaker."""
        if not self.asked.history and not self.asked.tools:
            return self.asked.prompt
        tools = [f"tools:\n{listed(self.asked.tools)}"] if self.asked.tools else []
        return "\n\n".join([*tools, *map(spoken, self.asked.messages)])

    @property
    def called(self) -> str:
        """The expected tool calls as JSON text; "" if there are none."""
        return self.asked.answered_with.get(CALLS) or ""


@dataclass(frozen=True)
class Division:
    """The task whose texts were divided into pieces, and the row that each piece comes from."""

    whole: Task
    of: tuple[int, ...]

    def name(self, piece: int) -> str:
        """The number of a piece's row, and of the piece if there are several: "12" or "12/3".

        Test items are named so.
        """
        row = self.of[piece]
        first, end = bisect_left(self.of, row), bisect_right(self.of, row)
        return f"{row}/{piece - first + 1}" if end - first > 1 else str(row)

    def told(self, most: int) -> str:
        """A sentence with the number of texts and of pieces."""
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
    """Rows to train on and to score.

    `templates` are those trained on, `held_out` those kept for the test. `train`, `validation` and
    `test` are the indices of rows with an applicable template and a completion; `dropped` counts
    the others by reason, and the chats that are not in `rows` because they are malformed (under
    `MALFORMED`). `labels` are the answer choices, if every row has the same ones.
    `division` is set for divided plain texts, where each row is a piece.
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
    def count_read(self) -> int:
        """The number of rows of the source, malformed chats included."""
        return len(self.whole.rows) + self.dropped.get(MALFORMED, 0)

    @property
    def whole(self) -> Task:
        """The task with the rows of its source, not divided."""
        return self.division.whole if self.division else self

    @property
    def cluster(self) -> str | None:
        """The kind of task."""
        return self.spec.cluster or self.templates.cluster

    @property
    def datasets(self) -> frozenset[str]:
        """What identifies the data set: its source's name and the digests of its files.

        If the recipe gives `dataset`, that alone.
        """
        if self.spec.dataset:
            return frozenset((self.spec.dataset,))
        return frozenset((self.spec.source, *self.rows.digests.values()))

    @functools.cached_property
    def exemplars(self) -> Exemplars:
        """The pool for few-shot prompts: the task's training rows."""
        rows = self.rows
        return Exemplars(self.name, self.train, rows.__getitem__, self.splits.groups, rows.place)

    def phrasing(self, template: Template, row: int, shots: int, key: str) -> Template | FewShot:
        """A template preceded by `shots` solved training rows, drawn by `key`."""
        if not shots:
            return template
        return FewShot.draw(template, self.exemplars, row, shots, key)

    def encode(
        self, encoder: Encoder, row: int, template: int, key: str, shots: int = 0
    ) -> Encoded | None:
        """Encode a row under a template, cut to fit; InputError naming the row if it cannot be."""
        phrasing = self.phrasing(self.templates.templates[template], row, shots, key)
        try:
            return encoder.fit(phrasing, self.rows[row], key)
        except InputError as error:
            raise InputError(f"{self.rows.place(row)}: {error}") from None

    def draw(self, encoder: Encoder, row: int, template: int, key: str) -> Encoded:
        """A training document, few-shot with probability `shots.share`.

        A template that does not apply or fit is replaced by the next one that does; every row kept
        for training fits under the first. Raises InputError if the row fits under none.
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
        """The number of examples of a training draw: `shots.count` for a share of the keys."""
        if self.spec.shots is None:
            return 0
        digest = hashlib.blake2b(f"shots\x1f{key}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest) / 2**64
        return self.spec.shots.count if drawn < self.spec.shots.share else 0

    def item(
        self, row: int, encoder: Encoder, room: int | None, template: Template | None = None
    ) -> Item | None:
        """A row under a template (default: the first), with all its references.

        The prompt is cut to `room` tokens like a training document. None if the template does not
        apply to the row, and for a plain text of a single token. Raises InputError naming the row
        if its prompt cannot be cut to fit, if a reference is not text, and for content that the
        chat template does not show.
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
            return Item(
                name, rendered, (rendered.completion,), self._group(row), place=self.rows.place(row)
            )
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
        return Item(
            str(row), asked, references, self._group(row), template.name, self.rows.place(row)
        )

    def references(self, row: int, template: Template) -> tuple[Rendered, list[str]] | None:
        """A row rendered by a template and its references, independent of the model.

        The answer is as people read it, tool calls included, without reasoning. None if the
        template does not apply or the completion is empty. Raises InputError naming the row, like
        `item`.
        """
        values = self.rows[row]
        rendered = render(self.rows, row, values, template)
        if rendered is None or not rendered.completion:
            return None
        return rendered, [spoken_answer(rendered), *self._references(row, values)]

    def _group(self, row: int) -> str:
        """The number of a row's group; "" if it is the only row of its group in the test split."""
        number = self.splits.groups[row] if self.splits.groups else None
        return str(number) if number is not None and self._group_sizes[number] > 1 else ""

    @functools.cached_property
    def _group_sizes(self) -> Counter[int]:
        return Counter(self.splits.groups[row] for row in self.test)

    def _references(self, row: int, values: Mapping[str, Any]) -> Iterator[str]:
        """A row's additional references; a column may hold one or a list of them."""
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
