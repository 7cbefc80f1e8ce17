"""Chooses metrics for a task by its answers, for a starting recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from brulee.data import strict_json
from brulee.data.conversations import ANSWERED_WITH
from brulee.data.guessing import SAMPLE, are_labels, word_count
from brulee.data.messages import CALLS
from brulee.data.sentence_pairs import pair_in
from brulee.data.task import Task

_FEW_WORDS = 5
_MOST = 0.9  # share of the answers that are alike


def metrics_for(task: Task, targets: Sequence[str], reads_calls: bool) -> list[str]:
    """The names of metrics for answers such as `targets`.

    `reads_calls`: tool calls can be parsed from the model's output.
    """
    if task.plain:
        return ["bits_per_byte"]
    calling = _calling(task) if reads_calls else 0.0
    if calling == 1:
        return ["tool_calls"]
    return [*(["tool_calls"] if calling else []), *_of_texts(task, targets)]


def _calling(task: Task) -> float:
    """The share of a sample of training rows whose answer calls a tool."""
    if ANSWERED_WITH not in task.rows.columns:
        return 0.0
    answers = task.rows.column(ANSWERED_WITH)
    calls = [bool(json.loads(answers[i] or "{}").get(CALLS)) for i in task.train[: 40 * SAMPLE]]
    return sum(calls) / max(1, len(calls))


def _as_json(targets: Sequence[str]) -> str | None:
    """The metric of answers that are all JSON objects or lists."""
    for name, read in (("json", strict_json.read), ("json:fenced", strict_json.read_fenced)):
        try:
            if targets and all(isinstance(read(text), dict | list) for text in targets):
                return name
        except strict_json.NotJsonError:
            continue
    return None


def _of_texts(task: Task, targets: Sequence[str]) -> list[str]:
    if task.templates.templates[0].metadata.rationale:
        return ["final_answer"]
    if _translates(task):
        return ["bleu", "chrf"] if _are_latin(targets) else ["chrf"]
    if task.labels:
        return ["accuracy", "ranked_accuracy", "macro_f1"]
    if task.templates.templates[0].answer_choices:  # differs by row
        return ["accuracy", "ranked_accuracy"]
    if sum("\\boxed" in text for text in targets) > _MOST * len(targets):
        return ["boxed_answer"]
    read_as = _as_json(targets)
    if read_as:
        return [read_as]
    if are_labels(targets):
        return ["exact_match"]
    if all(map(_is_number, targets)):
        whole = all(float(text).is_integer() for text in targets)
        return ["exact_match"] if whole else ["pearson", "spearman"]
    if sum(word_count(text) <= _FEW_WORDS for text in targets) > len(targets) / 2:
        return ["exact_match", "token_f1"]
    return ["rouge", "bleu"] if _are_latin(targets) else ["chrf", "rougeL:unicode"]


def _translates(task: Task) -> bool:
    """Whether the columns of the prompt and the completion are named after languages."""
    read = task.templates.columns
    sample = [task.rows[i] for i in range(min(SAMPLE, len(task.rows)))]
    return pair_in([{c: row[c] for c in row if c in read} for row in sample]) is not None


def _are_latin(texts: Sequence[str]) -> bool:
    """Whether letters are mostly Latin: in other scripts ROUGE finds no words, and BLEU few."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) >= len(letters) / 2


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
