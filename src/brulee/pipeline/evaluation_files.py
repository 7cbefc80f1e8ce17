"""The files of an evaluation: results.json, the items, a leaderboard's files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brulee.errors import InputError
from brulee.evaluation.answers import grouped, write_answers
from brulee.evaluation.stats import Interval
from brulee.evaluation.suite_options import changed, protocol, suite_options
from brulee.evaluation.suites import SUITES
from brulee.evaluation.tasks import Suite, worded
from brulee.methods.checkpoint import label_of
from brulee.pipeline.harness_results import write_harness_results
from brulee.pipeline.origin import machine, versions
from brulee.reporting import results
from brulee.reporting.leaderboard import PARTIAL
from brulee.reporting.results import Base, Environment, Method, Results, Score, SuiteUse, Who

if TYPE_CHECKING:
    from brulee.pipeline.evaluation import Evaluation


_LONGEST: Final = 40  # characters of an option's value in a folder name


def who(evaluation: Evaluation) -> Who:
    """Whether the scored model is a base or tuned."""
    return "tuned" if evaluation.asked.tuned else "base"


def as_results(evaluation: Evaluation, name: str) -> Results:
    """The scores in the schema of results.json, averages included.

    An average over part of a suite, or over the first items of its tasks, is not an official
    number; its metric ends in "_partial".
    """
    asked = evaluation.asked
    record = asked.record.get("base", {})
    side = who(evaluation)
    scores = [
        _score(side, task, key, one.interval)
        for task, found in evaluation.scored.items()
        for key, one in found.scores.items()
    ]
    for average in evaluation.aggregates:
        partial = PARTIAL if average.partial else ""
        scores.append(_score(side, average.task, average.metric + partial, average.interval))
    about = SuiteUse(
        name=evaluation.suite.name,
        options=evaluation.options.model_dump(mode="json"),
        changed=protocol(evaluation.options),
        limit=evaluation.limit,
        chat=evaluation.chat,
        efficiency=evaluation.efficiency.as_dict() if evaluation.efficiency else {},
        labels={f"{a.task} {a.metric}": a.label for a in evaluation.aggregates},
        lower_is_better=_lower_is_better(evaluation, scores),
    )
    return Results(
        run=name,
        base=Base(
            name=record.get("name", asked.base),
            digest=record.get("digest", asked.digest),
        ),
        method=_method(asked.record),
        scores=tuple(scores),
        groups=grouped(evaluation.answers),
        wordings=worded({task: found.task for task, found in evaluation.scored.items()}),
        environment=Environment(versions=versions(), machine=machine()),
        suite=about,
    )


def _method(record: Mapping[str, Any]) -> Method:
    """The method of the scored model; its label says if it was made of several."""
    return Method.model_validate(
        {**record.get("method", {"name": "none"}), "label": label_of(record)}
    )


def default_folder(evaluation: Evaluation) -> Path | None:
    """The folder for an evaluation's files inside its run; None for anything but a run.

    Evaluations with non-default options go to separate folders, named by the differences
    ("mmlu.prompt=harness"). Results on the first items never replace results on more items: they go
    to a separate folder.
    """
    target = Path(evaluation.target)
    if not (target / "recipe.yaml").is_file():
        return None
    folder = target / "suites" / _called(evaluation)
    limit = evaluation.limit
    if limit is None or not _has_more(folder, limit):
        return folder
    return folder.with_name(f"{folder.name}.first-{limit}")


def _called(evaluation: Evaluation) -> str:
    """The suite's name with every non-default option, short enough for a folder name."""
    parts = []
    for key, value in changed(evaluation.options).items():
        whole = "+".join(map(str, value)) if isinstance(value, list) else str(value)
        text = re.sub(r"[^\w+-]", "-", whole)[:_LONGEST]
        cut = f"~{hashlib.sha256(whole.encode()).hexdigest()[:8]}" if text != whole else ""
        parts.append(f"{key}={text}{cut}")
    if evaluation.chat:
        parts.append("chat")
    return ".".join([evaluation.suite.name, *parts])


def _has_more(folder: Path, limit: int) -> bool:
    """Whether a folder has a result on more items of each task."""
    try:
        suite = results.read(folder).suite if (folder / results.FILE_NAME).is_file() else None
    except InputError:  # not a result, or damaged: replace it
        return False
    return suite is not None and (suite.limit is None or suite.limit > limit)


def check_out(folder: Path, suite: Suite, options: Mapping[str, Any], chat: bool) -> None:
    """Raise InputError if a folder holds a run, or a result with other options."""
    if not (folder / results.FILE_NAME).is_file():
        return
    try:
        held = results.read(folder).suite
    except InputError:  # damaged: replace it
        return
    if held is None:
        raise InputError(f"--out {folder}: it holds the results of a run; name another folder.")
    now = SuiteUse(name=suite.name, changed=protocol(suite_options(suite, options)), chat=chat)
    if (held.name, held.asked) != (now.name, now.asked):
        usual = "its usual options"
        raise InputError(
            f"--out {folder}: it holds {held.name} with {held.asked or usual}, which "
            f"{now.name} with {now.asked or usual} would replace; name another folder."
        )


def write(evaluation: Evaluation, folder: Path) -> Path:
    """Write results.json and eval/WHO/TASK.jsonl into a folder; returns the path of the former.

    Also writes results_lm_eval.json, the scores in lm-evaluation-harness's format.
    """
    for task, answers in evaluation.answers.items():
        file = folder / "eval" / who(evaluation) / f"{task.replace('/', '-')}.jsonl"
        write_answers(file, answers)
    write_harness_results(evaluation, folder)
    return results.write(as_results(evaluation, folder.name), folder)


def check_bundle(suite: Suite, limit: int | None) -> None:
    """Raise InputError for a suite without a leaderboard, or for only part of its items."""
    if not suite.leaderboard:
        having = " and ".join(name for name, one in SUITES.items() if one.leaderboard)
        raise InputError(
            f"suite {suite.name}: it has no leaderboard bundle to write; {having} have one."
        )
    if limit is not None:
        raise InputError("a leaderboard takes all items: leave --limit out with --bundle.")


def write_bundle(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write a leaderboard's files. Raises InputError as `check_bundle`, or for missing rows."""
    check_bundle(evaluation.suite, evaluation.limit)
    files = evaluation.bundle
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """What `brulee eval --json` prints: results.json, with the averages' labels."""
    found = as_results(evaluation, evaluation.target)
    return found.model_dump(mode="json", by_alias=True)


def _lower_is_better(evaluation: Evaluation, scores: Sequence[Score]) -> tuple[str, ...]:
    """The scores for which lower is better, as "TASK METRIC"."""
    tasks = {task: found.task for task, found in evaluation.scored.items()}
    # An average has the name of the scores it averages.
    averages = {
        key
        for task, found in evaluation.scored.items()
        for key in found.scores
        if not tasks[task].higher_is_better(key)
    }

    def fewer(score: Score) -> bool:
        if score.task in tasks:
            return not tasks[score.task].higher_is_better(score.metric)
        return score.metric.removesuffix(PARTIAL) in averages

    return tuple(f"{score.task} {score.metric}" for score in scores if fewer(score))


def _score(side: Who, task: str, metric: str, found: Interval) -> Score:
    return Score(who=side, task=task, metric=metric, **found._asdict())
