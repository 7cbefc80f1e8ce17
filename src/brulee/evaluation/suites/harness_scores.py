"""The scores of lm-evaluation-harness 0.4.13 by output type, as statistics of an item.

BLEU, chrF and TER are fractions here, percentages in the harness. Shape legend: `C` choices,
`S` statistics of an item.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from brulee.errors import InputError, unknown
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.bleu import Bleu
from brulee.evaluation.chrf import Chrf
from brulee.evaluation.classification import matthews
from brulee.evaluation.suites.harness_config import MetricConfig, OutputType
from brulee.evaluation.suites.harness_prompt import Wanted
from brulee.evaluation.tasks import Reply
from brulee.evaluation.ter import Ter

Reduce = Callable[[Array, "float | Array"], Array]

# The largest logarithm of a perplexity: intervals cube it, and results.json holds no infinity.
_LARGEST: Final = 200.0


@dataclass(frozen=True)
class Given:
    """A reply to one document: likelihoods, or the answer that a filter extracted.

    `classes` is the largest number of choices of any document.
    """

    wanted: Wanted
    reply: Reply
    answer: str
    classes: int

    def log_probabilities(self) -> Array:
        """The log-probability of each choice: (C,)."""
        return np.array([f.log_probability for f in self.reply.likelihoods])

    @property
    def gold(self) -> int:
        """The index of the correct choice, or of the first of several."""
        return int(self.wanted.gold[0])

    def right(self, picked: int) -> bool:
        """Whether a choice is correct."""
        return picked in self.wanted.gold


@dataclass(frozen=True)
class Score:
    """One score: an item's statistics, the reduction of their mean, and its direction."""

    count: Callable[[Given], list[float]]
    aggregation: str = "mean"
    higher_is_better: bool = True
    reduce: Reduce = lambda mean_S, _: np.asarray(mean_S[..., 0])


def scores_of(
    output: OutputType, entries: Sequence[MetricConfig] | None, where: str
) -> dict[str, Score]:
    """The scores that a task requests by name, or the defaults of its output type.

    Raises InputError for an unsupported score, aggregation or option.
    """
    known = _SCORES[output]
    if entries is None:
        return {name: known[name] for name in _USUAL[output]}
    found = {}
    for entry in entries:
        if entry.metric not in known:
            raise unknown(f"metric of {output}", entry.metric, known, where)
        score = known[entry.metric]
        if entry.aggregation not in (None, score.aggregation):
            raise InputError(
                f"{where}: {entry.metric} with aggregation {entry.aggregation} is not supported; "
                f"its own is {score.aggregation}."
            )
        found[entry.metric] = _with_options(entry, score, where)
    return found


def _with_options(entry: MetricConfig, score: Score, where: str) -> Score:
    given = entry.model_extra or {}
    if not given:
        return score
    valid = _EXACT_OPTIONS if score.count is _exact_match else ()
    for name in given:
        if name not in valid:
            raise unknown(f"option of {entry.metric}", name, valid or ("(none)",), where)
    patterns = given.get("regexes_to_ignore") or []
    if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
        raise InputError(f"{where}: regexes_to_ignore is a list of texts, not {patterns!r}.")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"{where}: {pattern!r} is not a regular expression: {error}."
            ) from None
    return Score(partial(_exact_match_with, options=given), score.aggregation)


def _accuracy(given: Given, by: Callable[[str], float] = lambda _: 1.0) -> list[float]:
    sizes = np.array([by(choice) for choice in given.wanted.choices])
    found = given.log_probabilities()
    divided = np.divide(found, sizes, out=np.full_like(found, -np.inf), where=sizes > 0)
    return [float(given.right(int(np.argmax(divided))))]


def _binary(given: Given) -> list[float]:
    """True positives, false positives and false negatives of choice 1."""
    picked, gold = int(np.argmax(given.log_probabilities())), given.gold
    return [
        float(picked == 1 and gold == 1),
        float(picked == 1 and gold != 1),
        float(picked != 1 and gold == 1),
    ]


def _f1(mean_S: Array, items: float | Array) -> Array:
    del items
    hits, either = 2 * mean_S[..., 0], 2 * mean_S[..., 0] + mean_S[..., 1] + mean_S[..., 2]
    return np.where(either > 0, hits / np.where(either > 0, either, 1.0), 0.0)


def _confusion(given: Given) -> list[float]:
    table = np.zeros((given.classes, given.classes + 1))
    table[given.gold, int(np.argmax(given.log_probabilities()))] = 1.0
    return [float(v) for v in table.ravel()]


def _matthews(mean_S: Array, items: float | Array) -> Array:
    del items
    count = int((np.sqrt(4 * mean_S.shape[-1] + 1) - 1) / 2)  # S = count * (count + 1)
    return matthews(mean_S.reshape(*mean_S.shape[:-1], count, count + 1))


def _brier(given: Given) -> list[float]:
    found = given.log_probabilities()
    likely = np.exp(found - np.logaddexp.reduce(found))
    likely[given.gold] -= 1
    return [float((likely**2).sum())]


def _greedy_choice(given: Given) -> list[float]:
    greedy = [f.greedy for f in given.reply.likelihoods]
    return [float(any(greedy[int(gold)] for gold in given.wanted.gold))]


def _greedy(given: Given) -> list[float]:
    return [float(given.reply.likelihoods[0].greedy)]


def _log_probability(given: Given) -> list[float]:
    return [given.reply.likelihoods[0].log_probability]


def _per(size: Callable[[str], int]) -> Callable[[Given], list[float]]:
    def count(given: Given) -> list[float]:
        text = str(given.wanted.gold[0])
        return [given.reply.likelihoods[0].log_probability, float(size(text))]

    return count


def _words(text: str) -> int:
    return len(re.split(r"\s+", text))


def _bytes(text: str) -> int:
    return len(text.encode())


def _perplexity(mean_S: Array, items: float | Array) -> Array:
    del items
    return _exp(-mean_S[..., 0])


def _weighted_perplexity(mean_S: Array, items: float | Array) -> Array:
    del items
    return _exp(-mean_S[..., 0] / mean_S[..., 1])


def _exp(exponents: Array) -> Array:
    return np.asarray(np.exp(np.minimum(exponents, _LARGEST)))


def _bits(mean_S: Array, items: float | Array) -> Array:
    del items
    return np.asarray(-mean_S[..., 0] / mean_S[..., 1] / np.log(2))


def _exact_match(given: Given) -> list[float]:
    return [float(given.answer in given.wanted.gold)]


def _exact_match_with(given: Given, options: Mapping[str, Any]) -> list[float]:
    answer = _plain(given.answer, options)
    return [float(any(answer == _plain(str(gold), options) for gold in given.wanted.gold))]


def _plain(text: str, options: Mapping[str, Any]) -> str:
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    if options.get("ignore_case"):
        text = text.lower()
    dropped = string.punctuation if options.get("ignore_punctuation") else ""
    dropped += string.digits if options.get("ignore_numbers") else ""
    return text.translate(str.maketrans("", "", dropped))


def _corpus(metric: Metric, higher_is_better: bool = True) -> Score:
    (key,) = metric.keys

    def count(given: Given) -> list[float]:
        golds = [str(gold) for gold in given.wanted.gold]
        return [float(v) for v in metric.statistics(given.answer, golds)[key]]

    return Score(count, key, higher_is_better, partial(metric.reduce, key))


_EXACT_OPTIONS: Final = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
_USUAL: Final[dict[OutputType, tuple[str, ...]]] = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
_SCORES: Final[dict[OutputType, dict[str, Score]]] = {
    "multiple_choice": {
        "acc": Score(_accuracy),
        "acc_norm": Score(partial(_accuracy, by=len)),
        "acc_bytes": Score(partial(_accuracy, by=_bytes)),
        "f1": Score(_binary, "f1", reduce=_f1),
        "mcc": Score(_confusion, "matthews_corrcoef", reduce=_matthews),
        "brier_score": Score(_brier, "brier_score", higher_is_better=False),
        "exact_match": Score(_greedy_choice),
    },
    "loglikelihood": {
        "acc": Score(_greedy),
        "perplexity": Score(_log_probability, "perplexity", False, _perplexity),
    },
    "loglikelihood_rolling": {
        "word_perplexity": Score(_per(_words), "weighted_perplexity", False, _weighted_perplexity),
        "byte_perplexity": Score(_per(_bytes), "weighted_perplexity", False, _weighted_perplexity),
        "bits_per_byte": Score(_per(_bytes), "bits_per_byte", False, _bits),
    },
    "generate_until": {
        "exact_match": Score(_exact_match),
        "bleu": _corpus(Bleu()),
        "chrf": _corpus(Chrf()),
        "ter": _corpus(Ter(), higher_is_better=False),
    },
}
