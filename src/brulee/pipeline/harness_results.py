"""An evaluation in lm-evaluation-harness's format, for tools that read its results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brulee.evaluation.suites.harness import Harness
from brulee.evaluation.tasks import Aggregate, TaskScores

if TYPE_CHECKING:
    from brulee.pipeline.evaluation import Evaluation

FILE_NAME: Final = "results_lm_eval.json"
# The harness's names where they differ from ours.
_NAMES: Final = {
    "accuracy": "acc", "matthews": "mcc", "macro_f1": "f1", "exact_match": "em",
    "prompt_strict": "prompt_level_strict_acc", "prompt_loose": "prompt_level_loose_acc",
    "instruction_strict": "inst_level_strict_acc", "instruction_loose": "inst_level_loose_acc",
}  # fmt: skip


def harness_results(evaluation: Evaluation) -> dict[str, Any]:
    """Scores with standard errors by task, averages as groups, shots, numbers of items."""
    tasks = evaluation.scored
    # A task file of the harness already has its names.
    names = {} if isinstance(evaluation.suite, Harness) else _NAMES
    return {
        "results": {name: _scores(found, names) for name, found in tasks.items()},
        "groups": _groups(evaluation.aggregates),
        "configs": {
            name: {"task": name, "num_fewshot": _shots(evaluation, name)} for name in tasks
        },
        "n-shot": {name: _shots(evaluation, name) for name in tasks},
        "higher_is_better": {
            name: {
                _key(key, names).partition(",")[0]: found.task.higher_is_better(key)
                for key in found.scores
            }
            for name, found in tasks.items()
        },
        "n-samples": {
            name: {
                "original": len(evaluation.examples[name]),
                "effective": len(evaluation.answers[name]),
            }
            for name in tasks
        },
        "config": {
            "model": "brulee",
            "model_args": evaluation.target,
            "limit": evaluation.limit,
            "apply_chat_template": _in_template(evaluation),
        },
    }


def write_harness_results(evaluation: Evaluation, folder: Path) -> Path:
    """Write the results into a folder; returns the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(harness_results(evaluation), indent=2, ensure_ascii=False)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")
    return folder / FILE_NAME


def _scores(found: TaskScores, names: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {"alias": found.task.name}
    for key, one in found.scores.items():
        values[_key(key, names)] = one.interval.value
        # The bootstrap's variance is (n - 1) / n of the squared standard error.
        unbiased = math.sqrt(one.units / max(1, one.units - 1))
        values[_key(key, names, "_stderr")] = unbiased * float(np.std(one.resampled))
    return values


def _groups(averages: list[Aggregate]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for one in averages:
        group = groups.setdefault(one.task, {"alias": one.task})
        group[_key(one.metric, {})] = one.interval.value
    return groups


def _in_template(evaluation: Evaluation) -> bool:
    """Whether every prompt was in a chat template, by `--chat` or as its task is asked."""
    framings = {found.task.framing for found in evaluation.scored.values()}
    return evaluation.asked.template and (evaluation.chat or framings == {"chat"})


def _shots(evaluation: Evaluation, task: str) -> int:
    return max((len(example.shots) for example in evaluation.examples[task]), default=0)


def _key(key: str, names: Mapping[str, str], what: str = "") -> str:
    """A score's key in the harness: its metric, and the filter applied to answers."""
    metric, _, filtered = key.partition(",")
    return f"{names.get(metric, metric)}{what},{filtered or 'none'}"
