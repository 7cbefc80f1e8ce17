"""One model's answers to a task's test items, appended to a file as they arrive.

A line of eval/WHO/TASK.jsonl:

    {"id": "17", "task": "...", "prompt": "...", "output": "...", "references": ["..."],
     "scores": {"rouge1": 0.4}, "statistics": {"rouge1": [0.4]}, "tokens": 31, "request": "5be1...",
     "place": "chats.jsonl, line 18"}

`request` is the digest of the model's input, used to look up a reply: a killed evaluation resumes
where the file ends, a finished one queries nothing, a changed prompt is queried again. Scores are
recomputed from the replies every time. `cluster` is set if items are not independent (rows of one
group of the split, questions on one passage). `phrasing` is the name of the template; a row that is
scored under several has a line for each. A line of a suite's task also holds `reply`, the raw reply
before scoring, and so does one whose choices were ranked (answering.py). `thoughts` is the
reasoning before the output of a reasoning model; it is not scored, but counts towards the tokens.
A suite's items have no `place`.
Replies that are no longer scored are kept next to the file, in TASK.spare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from brulee.data.json_text import no_number
from brulee.data.task import Item
from brulee.data.written_calls import WrittenCalls
from brulee.errors import BruleeError, InputError
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.tool_calls import made
from brulee.inference.engine import Likelihood
from brulee.textfile import write_text


@dataclass(frozen=True)
class Answer:
    """One model's answer to one item; `statistics` follow the metric interface (base.py)."""

    id: str
    task: str
    prompt: str
    output: str
    references: tuple[str, ...]
    scores: dict[str, float]
    statistics: dict[str, list[float]]
    tokens: int
    request: str = ""
    cluster: str = ""
    reply: dict[str, Any] = field(default_factory=dict)
    phrasing: str = ""
    thoughts: str = ""
    place: str = ""


def score(
    item: Item,
    output: str,
    tokens: int,
    metrics: Sequence[Metric],
    task: str,
    request: str = "",
    calls: WrittenCalls | None = None,
) -> Answer:
    """An answer with the statistics of every metric; `calls` is the format of its tool calls."""
    judged = (
        (m, made(output, calls) if calls and m.against == "calls" else output) for m in metrics
    )
    statistics, scores = worth(item, judged)
    return Answer(
        item.id, task, item.prompt, output, item.references, scores, statistics, tokens, request,
        item.group, phrasing=item.phrasing, place=item.place,
    )  # fmt: skip


def worth(
    item: Item, outputs: Iterable[tuple[Metric, str]]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The statistics and single-item scores of an item, each metric applied to its own output.

    Raises BruleeError for a statistic that is not finite, naming metric and item.
    """
    statistics: dict[str, list[float]] = {}
    scores: dict[str, float] = {}
    for metric, output in outputs:
        for key, values in metric.statistics(output, _against(metric, item)).items():
            statistics[key] = [_finite(v, key, item) for v in values]
            scores[key] = metric.item(key, values)
    return statistics, scores


def _against(metric: Metric, item: Item) -> tuple[str, ...]:
    found = {"source": (item.prompt,), "calls": (item.called,), "references": item.references}
    return found[metric.against]


def _finite(value: float, key: str, item: Item) -> float:
    if not math.isfinite(value):
        raise BruleeError(
            f"the metric {key!r} gave {float(value)} for item {item.id!r}: every statistic must be"
            " finite."
        )
    return float(value)


def with_likelihoods(found: Iterable[Likelihood]) -> dict[str, Any]:
    """The likelihoods of the choices, as stored in a line's `reply`."""
    return {"likelihoods": [[f.log_probability, f.tokens, f.greedy] for f in found]}


def likelihoods_of(answer: Answer) -> list[Likelihood]:
    """The likelihoods of the choices stored in a line; empty if it has none."""
    kept = answer.reply.get("likelihoods", [])
    return [Likelihood(float(p), int(n), bool(greedy)) for p, n, greedy in kept]


def append(out: TextIO, answer: Answer) -> None:
    """Write an answer as one line and flush it."""
    out.write(_line(answer))
    out.flush()


def write_answers(file: Path, answers: Sequence[Answer]) -> None:
    """Write a file of exactly these answers, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(map(_line, answers)))


def known_answers(file: Path) -> list[Answer]:
    """The answers in a file's spare file, followed by those in the file itself."""
    return [*read_lines(_spare(file)), *read_lines(file)]


def keep_just(file: Path, answers: Sequence[Answer]) -> None:
    """Keep exactly these answers in a file (no file if there are none); move others to spare."""
    kept = {a.request for a in answers} | {a.reply.get("ranked") for a in answers}
    others = {a.request: a for a in known_answers(file) if a.request not in kept}
    if others:
        write_answers(_spare(file), list(others.values()))
    if answers:
        write_answers(file, answers)
    else:
        file.unlink(missing_ok=True)
    if not others:
        _spare(file).unlink(missing_ok=True)


def _spare(file: Path) -> Path:
    return file.with_suffix(".spare")


def clusters(answers: Sequence[Answer]) -> list[str] | None:
    """The cluster of each answer, by default the item itself; None if no item names one."""
    if not any(a.cluster for a in answers):
        return None
    return [a.cluster or f"item {a.id}" for a in answers]


def units(answers: Sequence[Answer]) -> int:
    """The number of independent units: clusters, or items if there are no clusters."""
    return len(set(clusters(answers) or range(len(answers))))


def grouped(answers: Mapping[str, Sequence[Answer]]) -> dict[str, int]:
    """The tasks in which some items share a cluster, with the number of clusters of each."""
    counts = {task: units(found) for task, found in answers.items()}
    return {task: count for task, count in counts.items() if count < len(answers[task])}


def read_lines(file: Path) -> list[Answer]:
    """Every complete answer in a file; truncates a last line that a kill left incomplete.

    Raises InputError naming a line that is not an answer.
    """
    if not file.is_file():
        return []
    # As bytes: a kill may have split a multi-byte character.
    found = file.read_bytes()
    whole = found[: found.rfind(b"\n") + 1]
    if whole != found:
        with file.open("r+b") as torn:
            torn.truncate(len(whole))
    # Not splitlines(): JSON does not escape U+2028 and similar separators.
    lines = whole.split(b"\n")[:-1]
    return [_read_line(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def shared(a: Path, b: Path) -> tuple[list[Answer], list[Answer]]:
    """The answers in two runs' files to their common items: one may have room for fewer.

    Pieces of plain text match only if both runs have them: a soft prompt makes pieces shorter.
    """
    of_a, of_b = (
        {(one.id, one.phrasing, one.references): one for one in read_lines(file)} for file in (a, b)
    )
    names = [name for name in of_a if name in of_b]
    return [of_a[name] for name in names], [of_b[name] for name in names]


def _read_line(line: bytes, where: str) -> Answer:
    try:
        held = json.loads(line, parse_constant=no_number)
        return Answer(**{**held, "references": tuple(held["references"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{where}: not an answer as a run writes them ({error}); delete the line to have it"
            " asked again."
        ) from None


def _line(answer: Answer) -> str:
    not_always = ("request", "cluster", "phrasing", "reply", "thoughts", "place")
    kept = {k: v for k, v in asdict(answer).items() if v or k not in not_always}
    return json.dumps(kept, ensure_ascii=False) + "\n"


def statistics_array(answers: Sequence[Answer], key: str) -> Array:
    """The statistics of one score over all answers that have it, shape (N, S)."""
    return np.array([a.statistics[key] for a in answers if key in a.statistics], dtype=np.float64)
