"""BIG-bench's prompts: prefixes, choices in a fixed random order, few-shot examples.

Equal to `bigbench` 1.0.0 (`default_format_fn`, `make_nshot_dataset`), including its random draws.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.suites.bigbench_schema import Example, JsonTask

SEED: Final = 42


@dataclass(frozen=True)
class Written:
    """An example as text: question, correct answers, and the choices with their scores."""

    number: int
    question: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    notes: str = ""  # the example's additional keys, as JSON


@dataclass(frozen=True)
class Asked:
    """An example with its shots, each of which ends in the separator."""

    written: Written
    shots: tuple[str, ...]


def write(task: JsonTask) -> list[Written]:
    """Every example of a task, in order."""
    return [_write(task, number, example) for number, example in enumerate(task.examples)]


def ask(task: JsonTask, shots: int, limit: int | None = None) -> Iterator[Asked]:
    """The examples with `shots` solved ones each; a random subset of them with `limit`.

    As published, with any shots the examples are in random order even without a limit. Raises
    InputError if the task has too few examples for the shots.
    """
    written = write(task)
    if len(written) <= shots:
        raise InputError(
            f"{task.name}: {len(written)} examples, too few for {shots} shots before each."
        )
    rng = np.random.RandomState(SEED)
    most = len(written) if limit is None else min(limit, len(written))
    if shots == 0:
        order = range(most) if most == len(written) else rng.permutation(len(written))[:most]
        return (Asked(written[i], ()) for i in order)
    return _with_shots(written, shots, task.few_shot_example_separator, rng, most)


def _with_shots(
    written: Sequence[Written], shots: int, separator: str, rng: np.random.RandomState, most: int
) -> Iterator[Asked]:
    # An example is never a shot for an equal one; as published, notes are compared too.
    twins = defaultdict(list)
    for example in written:
        twins[_content(example)].append(example.number)
    for i in rng.permutation(len(written))[:most]:
        others = np.delete(np.arange(len(written)), twins[_content(written[i])])
        drawn = others[rng.permutation(len(others))[:shots]]
        solved = []
        for number in drawn:
            shot = written[number]
            answer = shot.targets[rng.choice(len(shot.targets))]
            solved.append(f"{shot.question}{answer}{separator}")
        yield Asked(written[i], tuple(solved))


def _content(example: Written) -> tuple[object, ...]:
    return example.question, example.targets, example.choices, example.scores, example.notes


def _write(task: JsonTask, number: int, example: Example) -> Written:
    scores = example.target_scores or {}
    text = example.input
    if scores and task.append_choices_to_input:
        names = sorted(scores)
        shown = [names[i] for i in _disorder(len(names))]
        text += task.choice_prefix + task.choice_prefix.join(shown)
    question = f"{task.example_input_prefix}{text}{task.example_output_prefix}"
    notes = json.dumps(example.model_extra) if example.model_extra else ""
    return Written(
        number, question, _targets(example), tuple(scores), tuple(scores.values()), notes
    )


def _targets(example: Example) -> tuple[str, ...]:
    """The correct answers; with only choices, the first one with the highest score."""
    if isinstance(example.target, str):
        return (example.target,)
    if example.target is not None:
        return tuple(example.target)
    scores = example.target_scores or {}
    return (max(scores, key=lambda choice: scores[choice]),)


@cache
def _disorder(count: int) -> tuple[int, ...]:
    """A permutation with the same seed for each example, so that equal counts share it."""
    return tuple(int(i) for i in np.random.RandomState(SEED).permutation(count))
