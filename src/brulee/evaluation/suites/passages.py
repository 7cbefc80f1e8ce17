"""The rows of MultiRC and ReCoRD as the official files nest them: a passage with its questions.

What else a row holds (versions, sources, places of answers) is not looked at.
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
    """An answer to be judged; its label is not published of test rows."""

    text: str
    idx: int
    label: Annotated[int, Field(ge=0, le=1)] | None = None


class Question(_Part):
    """A question and the answers to it."""

    question: str
    idx: int
    answers: Annotated[list[Answer], Field(min_length=1)]


class Questioned(_Part):
    """What the questions are about."""

    text: str
    questions: list[Question]


class MultiRCRow(_Part):
    """A row of MultiRC."""

    idx: int
    passage: Questioned


class Place(_Part):
    """The first and the last character of an entity."""

    start: int
    end: int


class Filler(_Part):
    """An entity that fills a gap rightly."""

    text: str


class Query(_Part):
    """A sentence with a gap; what fills it is not published of test rows."""

    query: str
    idx: int
    answers: list[Filler] = Field(default_factory=list)


class Mentioning(_Part):
    """A passage and the entities that it mentions: by place, or in words as the Hub has them."""

    text: str
    entities: Annotated[list[str | Place], Field(min_length=1)]


class ReCoRDRow(_Part):
    """A row of ReCoRD."""

    idx: int
    passage: Mentioning
    qas: list[Query]


PartT = TypeVar("PartT", bound=_Part)


def read_row(shape: type[PartT], row: Row) -> PartT:
    """A row in its shape. Raises InputError naming its line and the key that is wrong."""
    return check(shape, row.values, Source(row.place, {}, None), ())
