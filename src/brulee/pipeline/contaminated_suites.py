"""A run's scores on a suite, split by whether its training rows contain the items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brulee.errors import InputError
from brulee.evaluation.answers import Answer, read_lines
from brulee.evaluation.contaminated import ITEMS, Items, Scored
from brulee.evaluation.scores import task_scores
from brulee.evaluation.stats import Interval
from brulee.evaluation.suite_options import suite_options
from brulee.evaluation.suite_texts import unit
from brulee.evaluation.suites import suite as suite_of
from brulee.evaluation.suites.over_phrasings import OverPhrasings
from brulee.evaluation.tasks import UNDER, Example, Suite, TaskScores
from brulee.progress import note
from brulee.recipe import Strict
from brulee.reporting import results
from brulee.shell import word

Dirty = Mapping[str, Mapping[str, bool]]  # by task name: whether each unit is contaminated
Numbers = dict[tuple[str, str], Interval]  # by task and score


def suite_scores(run: Path, name: str, data: Path | None, dirty: Dirty) -> Iterator[Scored]:
    """Scores of base and tuned on all, clean and dirty items of a suite, with its averages.

    The answers are those that `brulee eval RUN` left in RUN/suites, and those of the run's guards
    that are tasks of the suite. Each is judged under the options of its evaluation; tasks missing
    in `dirty` are left out. An average is over the tasks that have such items. A run without such
    answers is noted. Raises InputError if an answered item is missing in the suite's files, or has
    another question there.
    """
    suite = suite_of(name)
    asked = list(_asked(run, suite))
    found = [one for each in asked for one in _of_folder(each, suite, data, dirty)]
    if not found:
        note(
            f"{run}: it has no scores of the tasks of {suite.name} that were looked for; "
            f"`brulee eval {word(run)} --suite {name}` makes them."
        )
    yield from found


@dataclass(frozen=True)
class _Asked:
    """A folder of answers, with the suite's options and limit of their evaluation.

    `label` distinguishes the tasks of different folders; `averaged`: whether to average its tasks.
    """

    folder: Path
    options: Strict
    limit: int | None
    label: str
    averaged: bool


def _asked(run: Path, suite: Suite) -> Iterator[_Asked]:
    """The run's own folder, for its guards, and those of its evaluations on the suite."""
    yield _Asked(run, suite.Options(), None, "", averaged=False)
    for file in sorted(run.glob(f"suites/*/{results.FILE_NAME}")):
        use = results.read(file).suite
        if use is None or use.name != suite.name:
            continue
        label = "" if file.parent.name == suite.name else f" [{file.parent.name}]"
        try:
            options = suite_options(suite, use.options)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        yield _Asked(file.parent, options, use.limit, label, averaged=True)


def _of_folder(asked: _Asked, suite: Suite, data: Path | None, dirty: Dirty) -> Iterator[Scored]:
    answers = {who: _answers(asked.folder / "eval" / who) for who in ("base", "tuned")}
    named = {task for of in answers.values() for task in of} & set(dirty)
    if not named:
        return
    tasks = {t.name: t for t in suite.open(data, asked.options) if t.name in named}
    units: dict[str, dict[str, str]] = {}
    for name, task in tasks.items():
        examples = task.examples(asked.limit)
        _check(asked, name, examples, [a for of in answers.values() for a in of.get(name, ())])
        units[name] = {example.id: unit(example) for example in examples}
    found: dict[tuple[str, Items], Numbers] = {}
    for who, of in answers.items():
        for items in ITEMS:
            parts = {n: _part(of.get(n, ()), units[n], dirty[n], items) for n in tasks}
            scored = {n: task_scores(tasks[n], part) for n, part in parts.items() if part}
            found[who, items] = _numbers(scored)
            if asked.averaged and scored:
                found[who, items] |= _averages(suite, scored)
    for task_name, metric in dict.fromkeys(key for numbers in found.values() for key in numbers):
        for items in ITEMS:
            base, tuned = (found[who, items].get((task_name, metric)) for who in answers)
            yield Scored(task_name + asked.label, metric, items, base, tuned)


def _answers(folder: Path) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for answer in read_lines(file):
            found.setdefault(answer.task, []).append(answer)
    return found


def _check(
    asked: _Asked, task: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> None:
    """Raise InputError unless the suite's files still contain every answered question."""
    questions = {example.id: example.question for example in examples}
    for answer in answers:
        if questions.get(answer.id) != answer.prompt:
            raise InputError(
                f"{asked.folder}: {task}, item {answer.id}, was asked another question than "
                "these files have; give the folder that it was evaluated with: --data DIR."
            )


def _part(
    answers: Sequence[Answer], units: Mapping[str, str], dirty: Mapping[str, bool], items: Items
) -> list[Answer]:
    wanted = {"all": (False, True), "clean": (False,), "dirty": (True,)}[items]
    return [answer for answer in answers if dirty[units[answer.id]] in wanted]


def _numbers(scored: Mapping[str, TaskScores]) -> Numbers:
    """The scores of each task; of a task over phrasings, without those of single phrasings."""
    return {
        (name, key): score.interval
        for name, of in scored.items()
        for key, score in of.scores.items()
        if not (isinstance(of.task, OverPhrasings) and UNDER in key)
    }


def _averages(suite: Suite, scored: Mapping[str, TaskScores]) -> Numbers:
    """The suite's averages, over the scored tasks."""
    return {(one.task, one.metric): one.interval for one in suite.aggregates(scored)}
