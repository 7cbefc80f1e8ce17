"""Every JSON task of BIG-bench read and rendered, beside what the package itself makes of it.

    pip download --no-deps --no-binary :all: bigbench==1.0.0      (358 MB; unpack it)
    python benchmarks/bigbench_files.py bigbench-1.0.0
    PEER/bin/python benchmarks/peers/bigbench_side.py bigbench-1.0.0 theirs.json
    python benchmarks/bigbench_files.py bigbench-1.0.0 --theirs theirs.json

Counts tasks and examples. With the package's own side (peers/bigbench.txt says what it needs):
asserts, for files of up to 1 MB, that questions, answers and choices of the first 300 examples of
each task, prompts with two shots, chance levels and all scores of made-up replies are equal, scores
within 1e-9. Writes benchmarks/results/bigbench.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers.bigbench_side import MOST, SCORED, SHOTS, digest, log_probabilities, response

from brulee.errors import InputError
from brulee.evaluation.suites.bigbench_prompt import ask, write
from brulee.evaluation.suites.bigbench_schema import JsonTask, read_task
from brulee.evaluation.suites.bigbench_task import BigBenchTask, ways
from brulee.evaluation.suites.bigbench_written import Generated
from brulee.evaluation.tasks import Reply
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
    differences: list[str] = []
    started = time.perf_counter()
    files = sorted((arguments.package / "bigbench" / "benchmark_tasks").glob("*/task.json"))
    for file in files[: arguments.limit]:
        counts["task folders with a task.json"] += 1
        for name, task in read_task(file.parent, file.parent.name).items():
            counts["tasks and subtasks"] += 1
            counts["examples rendered"] += len(write(task))
            if name in theirs:
                ours = described(name, task.model_copy(update={"examples": task.examples[:MOST]}))
                counts["tasks compared with the package"] += 1
                counts["examples compared"] += ours["examples"]
                counts["scores compared"] += len(theirs[name]["scores"])
                differences += [f"{name}: {d}" for d in compared(ours, theirs[name])]
    counts["seconds"] = round(time.perf_counter() - started)
    for what, count in counts.items():
        print(f"{count:9,}  {what}")
    print("\n".join(differences) or "no difference")
    if theirs and arguments.limit is None:
        write_results(counts, differences)
    assert not differences, f"{len(differences)} differences"


def described(name: str, task: JsonTask) -> dict[str, Any]:
    """What the side reports, of our own reading."""
    written = write(task)
    shots = ask(task, SHOTS, min(SCORED, len(written)))
    found: dict[str, Any] = {
        "examples": len(written),
        "questions": digest(task.task_prefix + w.question for w in written),
        "answers": digest((list(w.targets), list(w.choices)) for w in written),
        "shots": digest(task.task_prefix + "".join(a.shots) + a.written.question for a in shots),
        "scores": {},
    }
    try:
        asked = ways(name, task, 0, 64)
    except InputError as error:  # BLEURT
        print(error)
        return found
    found["range"] = asked[0].range()
    for way in asked:
        found["scores"] |= scores(name, way)
    return found


def scores(name: str, task: BigBenchTask) -> dict[str, float]:
    """Our scores of the made-up replies."""
    examples = sorted(task.examples(), key=lambda e: int(e.id))[:SCORED]
    judged = []
    for example in examples:
        number = int(example.id)
        if isinstance(task.way, Generated):
            reply = Reply(text=response(name, number, example.about["written"].targets[0]))
        else:
            values = log_probabilities(name, number, len(example.choices))
            reply = Reply(tuple(Likelihood(value, 1, False) for value in values))
        judged.append(task.judge(example, reply).statistics)
    return {key: score(task, key, [j[key] for j in judged]) for key in task.metrics}


def score(task: BigBenchTask, key: str, statistics: Sequence[Sequence[float]]) -> float:
    mean_S = np.array(statistics).mean(axis=0)
    return float(task.reduce(key, mean_S, len(statistics))) * (100 if key in PERCENT else 1)


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    exact = ("examples", "questions", "answers", "shots")
    found = [key for key in exact if ours[key] != theirs[key]]
    if "range" not in ours:
        return found
    high = 100 if theirs["range"][1] == 100 else 1
    if not np.allclose(np.multiply(ours["range"], high), theirs["range"], atol=TOLERANCE):
        found.append(f"range {ours['range']}, not {theirs['range']}")
    for key, value in theirs["scores"].items():
        if not math.isclose(ours["scores"].get(key, math.nan), value, abs_tol=TOLERANCE):
            found.append(f"{key} {ours['scores'].get(key)}, not {value}")
    return found


def write_results(counts: Counter[str], differences: Sequence[str]) -> None:
    report = {
        "what": "BIG-bench's JSON tasks read, rendered and scored, beside bigbench 1.0.0",
        "date": datetime.now(UTC).date().isoformat(),
        "tolerance": TOLERANCE,
        "counts": dict(counts),
        "differences": list(differences),
    }
    file = Path(__file__).parent / "results" / "bigbench.json"
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
