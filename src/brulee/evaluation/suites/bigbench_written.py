"""BIG-bench's scores of generated answers, and of the likelihood of the correct ones.

Equal to `bigbench` 1.0.0 (`task_metrics.py`, which uses T5's BLEU and ROUGE), except that scores
are fractions instead of percentages, and ROUGE is the plain mean instead of the median of unseeded
resamples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.bleu import Bleu
from brulee.evaluation.rouge import Rouge
from brulee.evaluation.rouge_scorer import Options
from brulee.evaluation.suites.bigbench_prompt import Written, write
from brulee.evaluation.suites.bigbench_schema import GENERATED, ROUGE_TYPES, JsonTask

Scores = dict[str, list[float]]

_RELATIVE_ERROR = 0.1
# T5's BLEU uses mteval's "international" tokenizer.
_BLEU = Bleu(tokenizer="intl")
_ROUGE = Rouge(ROUGE_TYPES, Options(stem=False))


@final
class Generated:
    """Scores a generated answer."""

    def __init__(self, task: JsonTask) -> None:
        if task.preferred_score == "bleurt":
            raise InputError(
                f"{task.name}: its score is bleurt, which needs the weights of another model and "
                "is not supported; leave the task out."
            )
        asked = [metric for metric in task.asks(GENERATED) if metric != "bleurt"]
        self.asked = tuple(asked)
        self.metrics = tuple(
            key for metric in asked for key in (ROUGE_TYPES if metric == "rouge" else (metric,))
        )
        self.pattern = None if task.extraction is None else re.compile(task.extraction)
        self.stop = task.stop_string

    def judge(self, written: Written, text: str) -> tuple[str, Scores]:
        """The answer extracted from a text, and the statistics of each metric."""
        answer = extract(text, self.stop, self.pattern)
        found: Scores = {}
        for metric in self.asked:
            found |= _SCORES[metric](answer, written.targets)
        return answer, found

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score of mean statistics: (..., S) -> (...)."""
        if key == "bleu":
            return _BLEU.reduce(key, mean_S, items)
        return np.asarray(mean_S, dtype=np.float64)[..., 0]


@final
class Likely:
    """Scores the likelihood of the correct answers: in total, per word and per character."""

    def __init__(self, task: JsonTask) -> None:
        single = all(len(example.targets) == 1 for example in write(task))
        parts = ("log_likelihood_per_word", "log_likelihood_per_char") if single else ()
        self.metrics = ("log_likelihood", *parts)

    def judge(self, written: Written, log_probabilities: Sequence[float]) -> tuple[str, Scores]:
        """The most likely correct answer, and the statistics of each metric."""
        best = written.targets[int(np.argmax(log_probabilities))]
        total = float(np.logaddexp.reduce(np.asarray(log_probabilities, dtype=np.float64)))
        sizes = (1, max(1, len(written.targets[0].split())), max(1, len(written.targets[0])))
        return best, {key: [total / size] for key, size in zip(self.metrics, sizes, strict=False)}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean: (..., 1) -> (...)."""
        del key, items  # the same for all
        return np.asarray(mean_S, dtype=np.float64)[..., 0]


def extract(text: str, stop: str | None, pattern: re.Pattern[str] | None) -> str:
    """The answer in a text: truncate after the stop string, then take the pattern's first match.

    As published, a stop string at the very beginning does not count.
    """
    if stop and (end := text.find(stop)) > 0:
        text = text[: end + len(stop)]
    if pattern is None:
        return text
    match = pattern.search(text)
    if match is None:
        return ""
    return match[pattern.groups] or ""


def _exact(answer: str, targets: Sequence[str]) -> Scores:
    return {"exact_str_match": [float(answer in targets)]}


def _caseless(answer: str, targets: Sequence[str]) -> Scores:
    same = answer.strip().lower() in [target.strip().lower() for target in targets]
    return {"case_insensitive_str_match": [float(same)]}


def _sequence(answer: str, targets: Sequence[str]) -> Scores:
    """The share of the first target's labels predicted at their positions ("O" if missing)."""
    wanted, given = targets[0].split(" "), answer.split(" ")
    given += ["O"] * (len(wanted) - len(given))
    same = [a == b for a, b in zip(given, wanted, strict=False)]
    return {"sequence_f1": [sum(same) / len(wanted)]}


def _numeric(answer: str, targets: Sequence[str]) -> Scores:
    """Whether a number is within a tenth of the target.

    The published code divides by the signed target, so any number passes for a negative one; this
    is kept so that scores are comparable.
    """
    try:
        given, wanted = float(answer), float(targets[0])
    except ValueError:
        return {"numeric_match_with_0_1_relative_error": [0.0]}
    error = abs(given - wanted) / (wanted if wanted != 0 else 1)
    return {"numeric_match_with_0_1_relative_error": [float(error <= _RELATIVE_ERROR)]}


def _rouge(answer: str, targets: Sequence[str]) -> Scores:
    # For ROUGE-Lsum, T5 breaks lines after a full stop between spaces.
    lines = [text.replace(" . ", " .\n") for text in (answer, *targets)]
    found = _ROUGE.statistics(lines[0], lines[1:])
    return {key: [float(v) for v in values] for key, values in found.items()}


def _bleu(answer: str, targets: Sequence[str]) -> Scores:
    return {"bleu": [float(v) for v in _BLEU.statistics(answer, targets)["bleu"]]}


_SCORES = {
    "exact_str_match": _exact,
    "case_insensitive_str_match": _caseless,
    "sequence_f1": _sequence,
    "numeric_match_with_0_1_relative_error": _numeric,
    "rouge": _rouge,
    "bleu": _bleu,
}
