"""The requests that lm-evaluation-harness itself builds for the task files of the tests.

    cd tests/fixtures/harness
    PEER/bin/python ../../../benchmarks/peers/lm_eval_requests.py > requests.json

PEER has lm_eval 0.4.13 (`pip install lm_eval==0.4.13`); no model is needed. What brulee asks is
compared with the result in tests/parity/test_harness.py.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAMES = ("toy_choices", "toy_drawn", "toy_own", "toy_sums", "toy_last_word", "toy_prose")
SEED = 1234  # evaluator.simple_evaluate's fewshot_random_seed


def requests(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, list[list[Any]]]:
    """Task -> the arguments of each of its requests, in order."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = {}
    for name, task in manager.load(list(names))["tasks"].items():
        task.set_fewshot_seed(seed=SEED)
        task.build_all_requests(limit=None)
        found[name] = [list(instance.args) for instance in task.instances]
    return found


if __name__ == "__main__":
    report = {"lm_eval": version("lm_eval"), "requests": requests(Path())}
    json.dump(report, sys.stdout, indent=1, ensure_ascii=False)
