"""The nested rows of MultiRC and ReCoRD's official files: a passage with its questions.

Other keys of a row (versions, sources, positions of answers) are ignored.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from brulee.evaluation.suites.rows import Row
from brulee.recipe.source import Source
from brulee.recipe.validation import check


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Answer(_Part):
    """An answer to classify; the labels of test rows are not published."""

    text: str
    idx: int
    label: Annotated[int, Field(ge=0, le=1)] | None = None


class Question(_Part):
    """A question and the answers to it."""

    question: str
    idx: int
    answers: Annotated[list[Answer], Field(min_length=1)]


class Questioned(_Part):
    """A passage and its questions."""

    text: str
    questions: list[Question]


class MultiRCRow(_Part):
    """A row of MultiRC."""

    idx: int
    passage: Questioned


class Place(_Part):
    """The positions of an entity's first and last character."""

    start: int
    end: int


class Filler(_Part):
    """A correct entity for a gap."""

    text: str


class Query(_Part):
    """A sentence with a gap; the answers of test rows are not published."""

    query: str
    idx: int
    answers: list[Filler] = Field(default_factory=list)


class Mentioning(_Part):
    """A passage and its entities, as positions, or as text in the Hub's copy."""

    text: str
    entities: Annotated[list[str | Place], Field(min_length=1)]


class ReCoRDRow(_Part):
    """A row of ReCoRD."""

    idx: int
    passage: Mentioning
    qas: list[Query]


PartT = TypeVar("PartT", bound=_Part)


def read_row(shape: type[PartT], row: Row) -> PartT:
    """A row parsed as `shape`. Raises InputError naming its line and the invalid key."""
    return check(shape, row.values, Source(row.place, {}, None), ())
