"""What a benchmark gives and gets back: suites of tasks, their examples, what judges a reply.

    Suite.open -> SuiteTask.examples -> Example -> (the runner asks the model) -> Reply
    SuiteTask.judge(Example, Reply) -> Judged -> SuiteTask.join -> TaskScores -> Suite.aggregates

A task says what to ask and how to judge; it never sees a model. The runner (suite_run.py) never
knows a benchmark. Shape legend: `N` items, `S` statistics of one item, `B` resamples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.stats import Interval
from brulee.recipe import Strict

if TYPE_CHECKING:
    from brulee.inference.engine import Likelihood

Framing = Literal["plain", "chat"]
UNDER: Final = "@"  # between a score and the phrasing that it is of alone


@dataclass(frozen=True)
class Example:
    """One test item: what the model reads, and what it is asked.

    It reads preamble + shots + question, and says how likely each of `choices` is to follow, or
    writes on where there are none. Of an example without any context, a lone choice is a text that
    is read from its first token on. `cluster` is shared by items that are not independent (one
    passage, a pair); `about` holds what judging and a leaderboard's files need: the gold index, the
    official number, a subgroup.
    """

    id: str  # stable within its task
    question: str
    preamble: str = ""
    shots: tuple[str, ...] = ()  # solved examples, whole; the last go first where room is short
    choices: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # right answers in words; none where they are not published
    cluster: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def context(self, shots: int | None = None) -> str:
        """What stands before the answer, with the first so many shots."""
        return "".join((self.preamble, *self.shots[:shots], self.question))


@dataclass(frozen=True)
class Reply:
    """A model's answer: a likelihood for each choice, in their order, or the text it wrote."""

    likelihoods: tuple[Likelihood, ...] = ()
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True)
class Judged:
    """A reply in words, and for each score the item's statistics (S,), as in evaluation/base.py.

    A score that this item does not take part in has no entry; an item without a published answer
    has none at all.
    """

    output: str
    statistics: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    """How an answer is written: greedily, up to so many tokens or the first stop string."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()


class SuiteTask(Protocol):
    """One task of a suite: what is asked, and what a reply is worth.

    `name` is that of results.json, such as "mmlu/virology"; the first of `metrics` is the main
    one. `framing` says whether the model reads plain text or its chat template round it.
    `generation` is needed where examples have no choices. `wording` is a digest of the texts that
    its items are put into, "" where these are ours and fixed.
    """

    name: str
    metrics: tuple[str, ...]
    framing: Framing = "plain"
    generation: Generation | None = None
    wording: str = ""

    @abstractmethod
    def examples(self, limit: int | None = None) -> list[Example]:
        """The first items in their official order. Raises InputError for malformed data."""

    @abstractmethod
    def judge(self, example: Example, reply: Reply) -> Judged:
        """What one reply is worth."""

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Judgements that need more than one reply (pairs, ranks, the worst of a cluster).

        Gets all items, in order, and gives as many back.
        """
        del examples
        return list(judged)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score that mean statistics (..., S) of so many items stand for: (...).

        The plain mean, unless a task says otherwise.
        """
        del key, items
        return np.asarray(mean_S, dtype=np.float64)[..., 0]

    def higher_is_better(self, key: str) -> bool:
        """Whether more of a score is better."""
        del key
        return True


def worded(tasks: Mapping[str, SuiteTask]) -> dict[str, str]:
    """The digests of the texts that tasks put their items into, of those that have any."""
    return {name: task.wording for name, task in tasks.items() if task.wording}


@dataclass(frozen=True)
class Scored:
    """One score of one task.

    `statistics` (N, S) are those of the items that take part, `resampled` (B,) the score in
    bootstrap resamples, the same ones for all scores of a task, so that an average of scores has
    an interval too. `units` are those that were drawn, items or clusters; `share` says whether the
    score is one of right items.
    """

    interval: Interval
    statistics: Array
    resampled: Array
    units: int
    share: bool = False


@dataclass(frozen=True)
class TaskScores:
    """The scores of one task by metric, in the task's own order."""

    task: SuiteTask
    scores: Mapping[str, Scored]


@dataclass(frozen=True)
class Aggregate:
    """A named average: `task` and `metric` as in results.json, `label` in words for people.

    `tasks` counts what was averaged and `of` what the official average has; `first` is how many
    items of a task were asked, if not all. Fewer of either is no official number, and the label
    must say so (scores.py writes it).
    """

    task: str
    metric: str
    label: str
    interval: Interval
    tasks: int
    of: int
    first: int | None = None

    @property
    def partial(self) -> bool:
        """Whether this is no official number."""
        return self.tasks != self.of or self.first is not None


@dataclass(frozen=True)
class Answered:
    """All of one task's replies, for a leaderboard's files."""

    task: SuiteTask
    examples: Sequence[Example]
    judged: Sequence[Judged]


class Suite(Protocol):
    """A set of tasks with an official protocol, read from its official files.

    `Options` are what `--set key=value` may change; `timed` ones also measure the model's speed,
    `leaderboard` ones have files to hand in.
    """

    name: str
    summary: str = ""  # what it asks, in a few words: `brulee suites list` shows it
    timed: ClassVar[bool] = False
    leaderboard: ClassVar[bool] = False
    Options: ClassVar[type[Strict]]

    @abstractmethod
    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The tasks of a folder of official files, or where that is None, of the Hub's copy.

        `options` is an `Options`. Raises InputError naming the file or the option that is wrong.
        """

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The suite's averages of what was scored, by task name; labelled, none by default."""
        del scored
        return []

    def check_bundle(self, examples: Mapping[str, Sequence[Example]]) -> None:
        """Raise InputError where a leaderboard would not take answers to just these, by task."""
        del examples

    def bundle(self, answered: Mapping[str, Answered]) -> dict[str, str]:
        """A leaderboard's files, name to content; none where the suite has no leaderboard."""
        del answered
        return {}
