"""The schema of BIG-bench's task.json; unknown keys are rejected by name.

A task is a folder with a task.json; if that has no examples, the task consists of those in its
subfolders (Srivastava et al. 2022, "Beyond the Imitation Game"; `bigbench` 1.0.0).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from brulee.data.json_text import parse_json
from brulee.errors import InputError, unknown
from brulee.recipe.base import Strict
from brulee.recipe.source import Source
from brulee.recipe.validation import check
from brulee.textfile import read_text

FILE: Final = "task.json"
GENERATED: Final = (
    "exact_str_match", "case_insensitive_str_match", "sequence_f1",
    "numeric_match_with_0_1_relative_error", "rouge", "bleu", "bleurt",
)  # fmt: skip
SCORED: Final = ("log_likelihood",)
CHOSEN: Final = (
    "multiple_choice_grade", "calibration_multiple_choice_brier_score",
    "expected_calibration_error", "weighted_log_probabilities", "weighted_probabilities",
    "macro_f1",
)  # fmt: skip
# A task's preferred score is one of its metrics; for rouge, one of ROUGE's types.
ROUGE_TYPES: Final = ("rouge1", "rouge2", "rougeLsum")
_PREFERRED: Final = (*(m for m in (*GENERATED, *SCORED, *CHOSEN) if m != "rouge"), *ROUGE_TYPES)
_DEFAULT_REGEX: Final = r"[^\.\?\!\;\n]+"


class Example(BaseModel):
    """One example; authors' additional keys serve only to distinguish examples."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    input: str
    target: str | list[str] | None = None
    target_scores: dict[str, float] | None = None


class _Header(Strict):
    """The keys of every task.json; the last seven occur in published files and have no effect."""

    canary: Any
    name: str
    description: str
    keywords: list[str]
    prefix: Any = None
    input_prefix: Any = None
    contributors: Any = None
    expert_description: Any = None
    low_score: Any = None
    high_score: Any = None
    subtasks: Any = None


class _Container(_Header):
    """A task.json without examples; its other keys have no effect."""

    model_config = ConfigDict(extra="ignore")


class JsonTask(_Header):
    """A task.json with examples and defaults."""

    metrics: list[str] = Field(min_length=1)
    preferred_score: str
    examples: list[Example] = Field(min_length=1)
    task_prefix: str = ""
    example_input_prefix: str = "\nQ: "
    example_output_prefix: str = "\nA: "
    choice_prefix: str = "\n  choice: "
    append_choices_to_input: bool | str = True  # any text is true, even "false", as published
    few_shot_example_separator: str = "\n"
    output_regex: str | None = None
    stop_string: str | None = None
    absolute_normalization: bool = False

    def asks(self, metrics: tuple[str, ...]) -> list[str]:
        """The given metrics that the task has, in the given order."""
        return [metric for metric in metrics if metric in self.metrics]

    @property
    def extraction(self) -> str | None:
        """The pattern whose first match is the answer; None if only a stop string ends it.

        As published, an empty pattern means no pattern, not even the default one.
        """
        if self.output_regex is None and self.stop_string is None:
            return _DEFAULT_REGEX
        return self.output_regex or None


def read_task(folder: Path, name: str) -> dict[str, JsonTask]:
    """The task in a folder, or the subtasks of a composite one: "name/subtask" -> task.

    Raises InputError for anything missing, unknown or contradictory, naming the file and the key or
    example.
    """
    label = f"{name}/{FILE}"
    values = _load(folder / FILE, label)
    if "examples" in values:
        return {name: _read(values, label)}
    check(_Container, values, Source(label, {}, None), ())
    below = sorted(file.parent for file in folder.glob(f"*/{FILE}"))
    if not below:
        raise InputError(f"{label}: neither examples nor a subfolder with a {FILE}.")
    subtasks = {}
    for part in below:
        label = f"{name}/{part.name}/{FILE}"
        subtasks[f"{name}/{part.name}"] = _read(_load(part / FILE, label), label)
    return subtasks


def _load(file: Path, label: str) -> dict[str, Any]:
    values = parse_json(read_text(file, label), label)
    if not isinstance(values, dict):
        raise InputError(f"{label}: a task is a JSON object, but this is a list or a plain value.")
    return values


def _read(values: dict[str, Any], label: str) -> JsonTask:
    if isinstance(values.get("examples"), list):
        values = {**values, "examples": _distinct(values["examples"])}
    task = check(JsonTask, values, Source(label, {}, None), ())
    for metric in task.metrics:
        if metric not in (*GENERATED, *SCORED, *CHOSEN):
            raise unknown("metric", metric, (*GENERATED, *SCORED, *CHOSEN), label)
    if task.preferred_score not in _PREFERRED:
        raise unknown("preferred_score", task.preferred_score, _PREFERRED, label)
    _check_pattern(task, label)
    for number, example in enumerate(task.examples, start=1):
        _check_example(task, example, f"{label}, example {number}")
    return task


def _distinct(examples: list[Any]) -> list[Any]:
    """The examples without duplicates, which could be shots for each other."""
    return list({json.dumps(example): example for example in examples}.values())


def _check_pattern(task: JsonTask, label: str) -> None:
    if task.output_regex is None:
        return
    try:
        groups = re.compile(task.output_regex).groups
    except re.error as error:
        raise InputError(f"{label}: output_regex is not a regular expression: {error}.") from None
    if groups > 1:
        raise InputError(
            f"{label}: output_regex has {groups} groups, so that it has no single match; "
            "write (?:...) for those that only group."
        )


def _check_example(task: JsonTask, example: Example, where: str) -> None:
    scores, target = example.target_scores, example.target
    if task.asks(CHOSEN) and not scores:
        raise InputError(f"{where}: no target_scores, which {task.asks(CHOSEN)[0]} needs.")
    if task.asks((*GENERATED, *SCORED)) and target is None:
        raise InputError(f"{where}: no target, which {task.asks((*GENERATED, *SCORED))[0]} needs.")
    if target == [] or (target is None and not scores):
        raise InputError(f"{where}: neither a target nor target_scores.")
    if target is None and scores and _none_is_right(list(scores.values())):
        raise InputError(
            f"{where}: all choices have the same target_scores, so that none is right."
        )


def _none_is_right(scores: list[float]) -> bool:
    return scores == [0] or (len(scores) > 1 and max(scores) <= min(scores))
