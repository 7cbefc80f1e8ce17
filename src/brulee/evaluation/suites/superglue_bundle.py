"""The ten JSON Lines files of a submission to the SuperGLUE leaderboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from brulee.errors import InputError
from brulee.evaluation.suites.superglue_table import ENTRIES
from brulee.evaluation.tasks import Answered, Example

# Task -> its folder, and its file in a submission without .jsonl, in the leaderboard's order.
FILES: Final[dict[str, str]] = {
    "boolq": "BoolQ",
    "cb": "CB",
    "copa": "COPA",
    "multirc": "MultiRC",
    "record": "ReCoRD",
    "rte": "RTE",
    "wic": "WiC",
    "wsc": "WSC",
    "axb": "AX-b",
    "axg": "AX-g",
}
_MULTIRC_ANSWERS: Final = 9693
_RECORD_QUERIES: Final = 10_000
# Labels that are not written as plain text, as in the leaderboard's example.
_WRITTEN: Final[dict[str, Callable[[str], Any]]] = {"copa": int, "wsc": str.capitalize}


def superglue_bundle(answered: Mapping[str, Answered]) -> dict[str, str]:
    """File name to content, one object per line.

    Raises InputError if a task's number of answers differs from the test set's.
    """
    check_rows({task: found.examples for task, found in answered.items()})
    files = {}
    for task, found in answered.items():
        name = task.removeprefix("superglue/")
        lines = _multirc(found) if name == "multirc" else _plain(name, found)
        files[f"{FILES[name]}.jsonl"] = "".join(f"{json.dumps(line)}\n" for line in lines)
    return files


def check_rows(examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise InputError if a task's number of items differs from the test set's."""
    for task, found in examples.items():
        _check_count(task.removeprefix("superglue/"), found)


def _plain(name: str, found: Answered) -> list[dict[str, Any]]:
    write = _WRITTEN.get(name, str)
    return [
        {"idx": example.about["index"], "label": write(judged.output)}
        for example, judged in zip(found.examples, found.judged, strict=True)
    ]


def _multirc(found: Answered) -> list[dict[str, Any]]:
    """One line per passage, with its nested questions and their answers."""
    passages: dict[int, list[dict[str, Any]]] = {}
    for example, judged in zip(found.examples, found.judged, strict=True):
        passage, question, answers = example.about["index"]
        labels = [int(digit) for digit in judged.output.split()]
        given = [{"idx": i, "label": label} for i, label in zip(answers, labels, strict=True)]
        passages.setdefault(passage, []).append({"idx": question, "answers": given})
    return [{"idx": i, "passage": {"questions": questions}} for i, questions in passages.items()]


def _check_count(name: str, examples: Sequence[Example]) -> None:
    if name == "multirc":
        wanted, count = _MULTIRC_ANSWERS, sum(len(e.about["labels"]) for e in examples)
    else:
        wanted = _RECORD_QUERIES if name == "record" else ENTRIES[name].rows
        count = len(examples)
    if count != wanted:
        raise InputError(
            f"{FILES[name]}.jsonl: {count} predictions, but the leaderboard takes {wanted}; run "
            "the test split: --set split=test."
        )
