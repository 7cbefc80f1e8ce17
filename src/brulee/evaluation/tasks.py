"""The benchmark interface: suites of tasks, their examples, and how replies are scored.

    Suite.open -> SuiteTask.examples -> Example -> (the runner asks the model) -> Reply
    SuiteTask.judge(Example, Reply) -> Judged -> SuiteTask.join -> TaskScores -> Suite.aggregates

A task defines what to ask and how to score a reply; it never sees a model. The runner
(suite_run.py) knows no particular benchmark. Shape legend: `N` items, `S` statistics of one item,
`B` resamples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.resampling import UNLIMITED
from brulee.evaluation.stats import Interval
from brulee.recipe import Strict

if TYPE_CHECKING:
    from brulee.inference.engine import Likelihood

Framing = Literal["plain", "chat"]
UNDER: Final = "@"  # separates a score's name from the single phrasing it was measured under


@dataclass(frozen=True)
class Example:
    """One test item: the model's input and its answer choices, if any.

    The model reads preamble + shots + question, then scores the likelihood of each of `choices` as
    the continuation, or generates if there are none. Without any context, a single choice is a text
    that is scored from its first token on. Items that are not independent (same passage, a pair)
    share a `cluster`; `about` holds what scoring and a leaderboard's files need: the gold index,
    the official number, a subgroup.
    """

    id: str  # stable within its task
    question: str
    preamble: str = ""
    shots: tuple[str, ...] = ()  # solved examples; the last are dropped first if space is short
    choices: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # correct answers as text; none if they are not published
    cluster: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def context(self, shots: int | None = None) -> str:
        """The text before the answer, with the first `shots` shots."""
        return "".join((self.preamble, *self.shots[:shots], self.question))


@dataclass(frozen=True)
class Reply:
    """A model's answer: the likelihood of each choice, in order, or the generated text."""

    likelihoods: tuple[Likelihood, ...] = ()
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True)
class Judged:
    """An answer as text, and the item's statistics (S,) for each score, as in evaluation/base.py.

    A score that excludes this item has no entry; an item without a published answer has no entries.
    """

    output: str
    statistics: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    """How an answer is generated: greedily, up to a number of tokens or the first stop string.

    An answer is scored without the white space around it if `stripped`, which the request does not
    depend on.
    """

    max_new_tokens: int
    stop: tuple[str, ...] = ()
    stripped: bool = field(default=True, repr=False)  # a request's digest has the other two


class SuiteTask(Protocol):
    """One task of a suite: its examples and how replies are scored.

    `name` is the one in results.json, such as "mmlu/virology"; the first of `metrics` is the main
    one. `framing` says whether the model reads plain text or its chat template around it.
    `generation` is required if examples have no choices. `wording` is a digest of the prompt texts
    around its items, "" if these are our own and fixed.
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
        """Score one reply."""

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Adjust scores that depend on several replies (pairs, ranks, the worst of a cluster).

        Takes all items in order and returns as many.
        """
        del examples
        return list(judged)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score for mean statistics (..., S) over `items` items: (...).

        The plain mean, unless a task overrides it.
        """
        del key, items
        return np.asarray(mean_S, dtype=np.float64)[..., 0]

    def by_chance(self, key: str, stats_NS: Array, draws: int) -> Array | None:
        """Scores of a model without any effect, of these items: (draws,).

        None if zero is not what chance is above: for most scores. Otherwise the score's interval
        begins at 0 unless chance seldom gives as much.
        """
        del key, stats_NS, draws
        return None

    def higher_is_better(self, key: str) -> bool:
        """Whether a higher score is better."""
        del key
        return True


def worded(tasks: Mapping[str, SuiteTask]) -> dict[str, str]:
    """The `wording` digest of every task that has one, by task name."""
    return {name: task.wording for name, task in tasks.items() if task.wording}


@dataclass(frozen=True)
class Scored:
    """One score of one task.

    `statistics` (N, S) are those of the items that count, `resampled` (B,) the score in bootstrap
    resamples; all scores of a task use the same resamples, so that an average of scores has an
    interval too. `units` is the number of resampled units (items or clusters); `share` says whether
    the score is a proportion of correct items; `limits` are the least and the largest that is
    possible.
    """

    interval: Interval
    statistics: Array
    resampled: Array
    units: int
    share: bool = False
    limits: tuple[float, float] = UNLIMITED


@dataclass(frozen=True)
class TaskScores:
    """The scores of one task by metric, in the task's own order."""

    task: SuiteTask
    scores: Mapping[str, Scored]


@dataclass(frozen=True)
class Aggregate:
    """A named average: `task` and `metric` as in results.json, `label` for display.

    `tasks` is the number of tasks averaged and `of` the number in the official average; `first` is
    the number of items used per task, if not all. With fewer of either the average is not the
    official number, and the label must say so (scores.py does that).
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
        """Whether this differs from the official number because tasks or items are missing."""
        return self.tasks != self.of or self.first is not None


@dataclass(frozen=True)
class Answered:
    """All replies to one task, for a leaderboard's files."""

    task: SuiteTask
    examples: Sequence[Example]
    judged: Sequence[Judged]


class Suite(Protocol):
    """A set of tasks with an official protocol, read from its official files.

    `Options` are what `--set key=value` may change; a `timed` suite also measures the model's
    speed, a `leaderboard` suite writes files for submission, a `single` one has one task, of its
    own name.
    """

    name: str
    summary: str = ""  # what it asks, in a few words: `brulee suites list` shows it
    timed: ClassVar[bool] = False
    leaderboard: ClassVar[bool] = False
    single: ClassVar[bool] = False
    Options: ClassVar[type[Strict]]

    @abstractmethod
    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The tasks in a folder of official files, or in the Hub's copy if `data` is None.

        `options` is an `Options`. Raises InputError naming the invalid file or option.
        """

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The suite's labelled averages of `scored` (by task name); none by default."""
        del scored
        return []

    def check_bundle(self, examples: Mapping[str, Sequence[Example]]) -> None:
        """Raise InputError if a leaderboard would reject answers to only these examples."""
        del examples

    def bundle(self, answered: Mapping[str, Answered]) -> dict[str, str]:
        """A leaderboard's files, name to content; none if the suite has no leaderboard."""
        del answered
        return {}
