"""One model's answers to a task's test items, appended to a file as they are given.

A line of eval/WHO/TASK.jsonl:

    {"id": "17", "task": "...", "prompt": "...", "output": "...", "references": ["..."],
     "scores": {"rouge1": 0.4}, "statistics": {"rouge1": [0.4]}, "tokens": 31}

A line of a suite's task also holds `request`, the digest of what the model was asked, `reply`, what
it replied before it was judged, and `cluster`. A killed evaluation goes on where the file ends; a
finished one is read and costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from brulee.data.encoding import Encoder
from brulee.data.task import Item
from brulee.evaluation.base import Array, Metric
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.progress import bar


@dataclass(frozen=True)
class Answer:
    """What one model gave for one item; statistics are those of the metric contract."""

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


def generate_answers(
    engine: Engine,
    encoder: Encoder,
    items: Sequence[Item],
    metrics: Sequence[Metric],
    sampling: Sampling,
    *,
    task: str,
    file: Path,
    title: str,
) -> list[Answer]:
    """Generate and score the answers that `file` does not hold yet; all of them, in item order."""
    known = read_answers(file)
    open_at = [at for at, item in enumerate(items) if item.id not in known]
    open_items = [items[at] for at in open_at]
    prompts = [encoder.encode_question(item.asked) for item in open_items]
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(title, total=len(items), unit="items") as progress,
        file.open("a", encoding="utf-8") as out,
    ):
        progress.advance(len(items) - len(open_items))

        def done(i: int, ids: list[int]) -> None:
            answer = score(open_items[i], encoder.decode(ids), len(ids), metrics, task)
            known[answer.id] = answer
            append(out, answer)
            progress.advance()

        # By their places among all, so that resuming draws what would have been drawn.
        engine.generate(prompts, sampling, done, open_at)
    return [known[item.id] for item in items]


def score(item: Item, output: str, tokens: int, metrics: Sequence[Metric], task: str) -> Answer:
    """An answer with the statistics of every metric."""
    statistics: dict[str, list[float]] = {}
    scores: dict[str, float] = {}
    for metric in metrics:
        against = (item.prompt,) if metric.against == "source" else item.references
        for key, values in metric.statistics(output, against).items():
            statistics[key] = [float(v) for v in values]
            scores[key] = metric.item(key, values)
    return Answer(item.id, task, item.prompt, output, item.references, scores, statistics, tokens)


def append(out: TextIO, answer: Answer) -> None:
    """Write an answer as one line, at once."""
    out.write(_line(answer))
    out.flush()


def write_answers(file: Path, answers: Sequence[Answer]) -> None:
    """Make a file of just these answers, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.tmp")
    aside.write_text("".join(map(_line, answers)), encoding="utf-8")
    aside.replace(file)


def read_answers(file: Path) -> dict[str, Answer]:
    """The whole answers of a file by id; a last line cut short by a kill is dropped from it."""
    return {answer.id: answer for answer in read_lines(file)}


def read_lines(file: Path) -> list[Answer]:
    """Every whole answer of a file, in its order; see `read_answers`."""
    if not file.is_file():
        return []
    # As bytes: a kill may cut a character in two.
    found = file.read_bytes()
    whole = found[: found.rfind(b"\n") + 1]
    if whole != found:
        with file.open("r+b") as torn:
            torn.truncate(len(whole))
    # Not splitlines(): JSON leaves U+2028 and its like as they are.
    answers = [json.loads(line) for line in whole.split(b"\n")[:-1]]
    return [Answer(**{**a, "references": tuple(a["references"])}) for a in answers]


def _line(answer: Answer) -> str:
    suite_only = ("request", "cluster", "reply")
    kept = {k: v for k, v in asdict(answer).items() if v or k not in suite_only}
    return json.dumps(kept, ensure_ascii=False) + "\n"


def statistics_array(answers: Sequence[Answer], key: str) -> Array:
    """The statistics of one score over all answers, shape (N, S)."""
    return np.array([a.statistics[key] for a in answers], dtype=np.float64)
