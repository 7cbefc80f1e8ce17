"""lm-evaluation-harness's own requests and scores for the task files of the tests.

    cd tests/fixtures/harness
    PEER/bin/python ../../../benchmarks/peers/lm_eval_requests.py > requests.json

PEER has lm_eval 0.4.13 (`pip install lm_eval==0.4.13`); no model is needed: replies are
made up. brulee is compared with the result in tests/parity/test_harness.py.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAMES = (
    "toy_choices",
    "toy_drawn",
    "toy_own",
    "toy_sums",
    "toy_last_word",
    "toy_prose",
    "toy_translated",
    "toy_binary",
    "toy_named",
)
SEED = 1234  # evaluator.simple_evaluate's fewshot_random_seed


def fraction(*parts: object) -> float:
    """A deterministic pseudo-random number in [0, 1) from these values."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12


def likelihood(task: str, document: int, choice: int) -> tuple[float, bool]:
    """A made-up log-probability, and whether greedy decoding would generate the choice."""
    value = fraction(task, document, choice)
    return -9 * value, value < 0.4


def text(task: str, document: int, target: str) -> str:
    """A made-up answer: right, right within other text, wrong, or nearly right."""
    words = target.split(" ")
    found = [f" {target}", f" {target}, not 7", " none", " ".join([*words[:-1], "indeed"])]
    return found[int(fraction(task, document) * len(found))]


def report(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Per task, the arguments of its requests and the scores of made-up replies."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found: dict[str, Any] = {"requests": {}, "scores": {}}
    for name, task in manager.load(list(names))["tasks"].items():
        task.set_fewshot_seed(seed=SEED)
        task.build_all_requests(limit=None)
        found["requests"][name] = [list(instance.args) for instance in task.instances]
        found["scores"][name] = scores(name, task)
    return found


def scores(name: str, task: Any) -> dict[str, float]:
    """A task's scores of this file's made-up replies, by metric and filter."""
    by_document: dict[int, list[Any]] = defaultdict(list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
        instance.resps = [reply(name, task, instance)] * instance.repeats
    task.apply_filters()
    found: dict[str, float] = {}
    for filter_ in task.instances[0].filtered_resps:
        items = defaultdict(list)
        for instances in by_document.values():
            replies = [instance.filtered_resps[filter_] for instance in instances]
            for metric, value in task.process_results(instances[0].doc, replies).items():
                items[metric].append(value)
        key = "" if filter_ == "none" else f",{filter_}"
        found |= {m + key: float(task.aggregation()[m](values)) for m, values in items.items()}
    return found


def reply(name: str, task: Any, instance: Any) -> Any:
    if task.OUTPUT_TYPE == "generate_until":
        return text(name, instance.doc_id, str(task.doc_to_target(instance.doc)))
    log_probability, greedy = likelihood(name, instance.doc_id, instance.idx)
    return log_probability if task.OUTPUT_TYPE.endswith("rolling") else (log_probability, greedy)


if __name__ == "__main__":
    recorded = {"lm_eval": version("lm_eval"), **report(Path())}
    json.dump(recorded, sys.stdout, indent=1, ensure_ascii=False)
    print()
