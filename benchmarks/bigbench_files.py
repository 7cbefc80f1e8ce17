"""Read and render every JSON task of BIG-bench, and compare with the bigbench package itself.

    pip download --no-deps --no-binary :all: bigbench==1.0.0      (358 MB; unpack it)
    python benchmarks/bigbench_files.py bigbench-1.0.0
    PEER/bin/python benchmarks/peers/bigbench_side.py bigbench-1.0.0 theirs.json
    python benchmarks/bigbench_files.py bigbench-1.0.0 --theirs theirs.json

Counts tasks and examples. With the package's own side (peers/bigbench.txt lists its requirements),
asserts for every task that questions, answers and choices of its first 300 examples, 25 two-shot
prompts, the chance level, and all scores of 25 made-up and 25 right replies are equal, scores
within 1e-9. Writes benchmarks/results/bigbench.json, one line per task.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from mixture import machine
from peers.bigbench_side import (
    MOST,
    SCORED,
    SHOTS,
    digest,
    equal_log_probabilities,
    log_probabilities,
    response,
    right_log_probabilities,
)

from brulee.errors import InputError
from brulee.evaluation.suites.bigbench_prompt import ask, write
from brulee.evaluation.suites.bigbench_schema import FILE, JsonTask, read_task
from brulee.evaluation.suites.bigbench_task import BigBenchTask, ways
from brulee.evaluation.suites.bigbench_written import Generated, Likely
from brulee.evaluation.tasks import Example, Reply
from brulee.inference.engine import Likelihood

PERCENT = ("bleu", "sequence_f1", "rouge1", "rouge2", "rougeLsum")
TOLERANCE = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--theirs", type=Path, help="the report of peers/bigbench_side.py")
    parser.add_argument("--limit", type=int, help="only the first so many task folders")
    arguments = parser.parse_args()
    theirs = json.loads(arguments.theirs.read_text()) if arguments.theirs else {}
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    folders = sorted((arguments.package / "bigbench" / "benchmark_tasks").glob("*/"))
    files = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    counts["task folders"] = len(folders)
    counts["of them JSON, the others programs"] = len(files)
    for file in files[: arguments.limit]:
        for name, task in read_task(file.parent, file.parent.name).items():
            counts["tasks and subtasks in them"] += 1
            counts["examples rendered"] += len(write(task))
            if name in theirs:
                ours = described(name, task.model_copy(update={"examples": task.examples[:MOST]}))
                rows.append(compared(name, ours, theirs[name]))
    for name in ("examples", "scores"):
        counts[f"{name} compared"] = sum(row[name] for row in rows)
    counts["tasks compared with the package"] = len(rows)
    counts["whose right answers have the best score"] = sum(
        isclose(row["right"], row["best"], abs_tol=TOLERANCE) for row in rows if "right" in row
    )
    counts["seconds"] = round(time.perf_counter() - started)
    differences = [f"{row['task']}: {', '.join(row['differ'])}" for row in rows if "differ" in row]
    for what, count in counts.items():
        print(f"{count:9,}  {what}")
    print("\n".join(differences) or "no difference")
    if theirs and arguments.limit is None:
        write_results(counts, differences, rows)
    assert not differences, f"{len(differences)} differences"


def described(name: str, task: JsonTask) -> dict[str, Any]:
    """The same report as the peer's side, from our own reading of a task."""
    written = write(task)
    shots = ask(task, SHOTS, min(SCORED, len(written)))
    found: dict[str, Any] = {
        "examples": len(written),
        "questions": digest(task.task_prefix + w.question for w in written),
        "answers": digest((list(w.targets), list(w.choices)) for w in written),
        "shots": digest(task.task_prefix + "".join(a.shots) + a.written.question for a in shots),
        "scores": {},
        "right": {},
    }
    try:
        asked = ways(name, task, 0, 64)
    except InputError as error:  # BLEURT
        print(error)
        return found
    found["range"] = asked[0].range()
    found["preferred"] = asked[0].preferred
    for way in asked:
        found["scores"] |= scores(name, way)
        found["right"] |= scores(name, way, right=True)
    return found


def scores(name: str, task: BigBenchTask, right: bool = False) -> dict[str, float]:
    """Our scores of the made-up or right replies."""
    examples = sorted(task.examples(), key=lambda e: int(e.id))[:SCORED]
    judged = [task.judge(e, reply(name, task, e, right)).statistics for e in examples]
    return {key: score(task, key, [j[key] for j in judged]) for key in task.metrics}


def reply(name: str, task: BigBenchTask, example: Example, right: bool) -> Reply:
    number, written = int(example.id), example.about["written"]
    if isinstance(task.way, Generated):
        target = written.targets[0]
        return Reply(text=target if right else response(name, number, target))
    count = len(example.choices)
    if not right:
        values = log_probabilities(name, number, count)
    elif isinstance(task.way, Likely):
        values = equal_log_probabilities(count)
    else:
        values = right_log_probabilities(written.scores)
    return Reply(tuple(Likelihood(value, 1, False) for value in values))


def score(task: BigBenchTask, key: str, statistics: Sequence[Sequence[float]]) -> float:
    mean_S = np.array(statistics).mean(axis=0)
    return float(task.reduce(key, mean_S, len(statistics))) * (100 if key in PERCENT else 1)


def compared(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """A task's line: what was compared, the scores of right answers, and what differs."""
    differ = [
        key for key in ("examples", "questions", "answers", "shots") if ours[key] != theirs[key]
    ]
    row: dict[str, Any] = {"task": name, "examples": ours["examples"], "scores": 0}
    if "range" not in ours:
        row["left_out"] = "bleurt, which needs the weights of another model"
    else:
        high = 100 if theirs["range"][1] == 100 else 1
        if not np.allclose(np.multiply(ours["range"], high), theirs["range"], atol=TOLERANCE):
            differ.append(f"range {ours['range']}, not {theirs['range']}")
        for replies in ("scores", "right"):
            for key, value in theirs[replies].items():
                mine = ours[replies].get(key, math.nan)
                if not isclose(mine, value, abs_tol=TOLERANCE):
                    differ.append(f"{key} {mine}, not {value}")
            row["scores"] += len(theirs[replies])
        row["right"], row["best"] = ours["right"][ours["preferred"]], theirs["range"][1]
    return row | ({"differ": differ} if differ else {})


def write_results(
    counts: Counter[str], differences: Sequence[str], rows: Sequence[dict[str, Any]]
) -> None:
    report = {
        "what": "BIG-bench's JSON tasks read, rendered and scored, beside bigbench 1.0.0",
        "tolerance": TOLERANCE,
        "counts": dict(counts),
        "differences": list(differences),
        **machine(),
    }
    write_rows(Path(__file__).parent / "results" / "bigbench.json", report, rows)


def write_rows(file: Path, report: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write a report as JSON, with one line per row."""
    head = json.dumps(report, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    file.write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
