"""Test items with both models' answers, as a run stores them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from brulee.data.json_text import parse_json
from brulee.errors import InputError


class Answer(BaseModel):
    """One line of eval/WHO/TASK.jsonl: what one model wrote for one test item."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str | int
    task: str
    prompt: str
    output: str
    references: tuple[str, ...]
    scores: dict[str, float]
    tokens: int = 0
    phrasing: str = ""
    thoughts: str = ""
    place: str = ""

    @property
    def key(self) -> tuple[str | int, str]:
        """Its identity within its task: a row may be asked in several phrasings."""
        return self.id, self.phrasing


@dataclass(frozen=True)
class Item:
    """One test item with its answers before and after tuning."""

    before: Answer
    after: Answer

    @property
    def task(self) -> str:
        """The task the item belongs to."""
        return self.after.task

    def change(self, metric: str) -> float:
        """Score after minus score before; KeyError if the item has no such score."""
        return self.after.scores[metric] - self.before.scores[metric]

    def has(self, metric: str) -> bool:
        """Whether both answers have that score."""
        return metric in self.before.scores and metric in self.after.scores


@dataclass(frozen=True)
class Picks:
    """Items worth reading; no item is in two of the lists."""

    improved: tuple[Item, ...]
    worsened: tuple[Item, ...]
    median: tuple[Item, ...]


def pick(items: Sequence[Item], metric: str, higher_is_better: bool = True, most: int = 3) -> Picks:
    """The most improved items, the most worsened, and those closest to the median change.

    At most `most` of each; ties keep the items' order, so the choice is deterministic.
    """
    sign = 1 if higher_is_better else -1
    ranked = sorted(
        (item for item in items if item.has(metric)), key=lambda item: -sign * item.change(metric)
    )
    improved = [item for item in ranked if sign * item.change(metric) > 0][:most]
    worsened = [item for item in reversed(ranked) if sign * item.change(metric) < 0][:most]
    taken = {id(item) for item in improved + worsened}
    rest = [item for item in ranked if id(item) not in taken]
    if not rest:
        return Picks(tuple(improved), tuple(worsened), ())
    middle = statistics.median(item.change(metric) for item in ranked)
    closest = sorted(rest, key=lambda item: abs(item.change(metric) - middle))[:most]
    return Picks(tuple(improved), tuple(worsened), tuple(closest))


def read_items(folder: str | Path) -> list[Item]:
    """Pair eval/base with eval/tuned of a run folder by task, id and phrasing, in the files' order.

    A task that only one of the two answered is left out. Raises InputError naming file and line for
    a malformed line, or naming the item if the two answered different items of a task.
    """
    root = Path(folder) / "eval"
    before, after = _answers(root / "base"), _answers(root / "tuned")
    items: list[Item] = []
    for task in before:
        if task not in after:
            continue
        odd = sorted({str(key) for key, _ in before[task].keys() ^ after[task].keys()})
        if odd:
            raise InputError(
                f"{root}: item {odd[0]!r} of {task} was answered by one of base and tuned only; "
                "evaluate both on the same rows."
            )
        items += [Item(answer, after[task][key]) for key, answer in before[task].items()]
    return items


def _answers(folder: Path) -> dict[str, dict[tuple[str | int, str], Answer]]:
    found: dict[str, dict[tuple[str | int, str], Answer]] = {}
    for file in sorted(folder.rglob("*.jsonl")):
        for place, values in read_lines(file):
            answer = _answer(place, values)
            of_task = found.setdefault(answer.task, {})
            if answer.key in of_task:
                under = f" under {answer.phrasing!r}" if answer.phrasing else ""
                raise InputError(
                    f"{place}: item {answer.id!r} of {answer.task} stands twice{under}."
                )
            of_task[answer.key] = answer
    return found


def read_lines(file: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield ("file, line N", object) for each line of a JSON Lines file.

    Raises InputError for a line that is not a JSON object.
    """
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            place = f"{file}, line {number}"
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{place}: byte {error.start} is not UTF-8 text.") from None
            values = parse_json(line, file, number)
            if not isinstance(values, dict):
                raise InputError(f"{place}: a JSON object is expected, not {line.strip()[:40]!r}.")
            yield place, values


def _answer(place: str, values: dict[str, Any]) -> Answer:
    try:
        return Answer.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{place}: {key}: {problem['msg'].lower()}.") from None
