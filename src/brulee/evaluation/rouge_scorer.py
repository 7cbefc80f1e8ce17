"""ROUGE with resolved options: kinds, variant, and how several references are combined.

Three variants. `google` gives the numbers of rouge_score 0.1.2, which has N, L and Lsum. `1.5.5`
gives those of the Perl script that papers report (rouge_155.py). `paper` follows Lin (2004): W
weighted once on both sides, SU with every word, Lsum not clipped. Without a variant, N, L and Lsum
are google's, and W, S and SU the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final

from brulee.errors import InputError, unknown
from brulee.evaluation import rouge_155
from brulee.evaluation.base import check_references
from brulee.evaluation.rouge_155_text import Reading
from brulee.evaluation.rouge_counts import counter
from brulee.evaluation.rouge_kinds import Kind, kind
from brulee.evaluation.rouge_text import Text, table
from brulee.evaluation.words import TOKENIZERS

MULTI: Final = ("best", "mean")
VARIANTS: Final = ("google", "1.5.5", "paper")

Multi = Literal["best", "mean"]
Variant = Literal["google", "1.5.5", "paper"]


class Score(NamedTuple):
    """Precision, recall and their weighted harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f: float


@dataclass(frozen=True)
class Options:
    """How ROUGE counts; see `rouge.score`. The last three are only for variant 1.5.5."""

    variant: Variant | None = None
    stem: bool = True
    multi: Multi = "best"
    tokenizer: str = "google"
    clip: bool = True
    alpha: float = 0.5
    drop_stop_words: bool = False
    words: int = 0
    bytes: int = 0


DEFAULT: Final = Options()


@final
class Scorer:
    """Scores texts by several kinds of ROUGE under the same options.

    Raises InputError for an unknown kind or option, or one that the variant lacks.
    """

    def __init__(self, types: Sequence[str], options: Options) -> None:
        _check(options)
        self.options = options
        self.kinds = {name: kind(name) for name in types}
        for name, one in self.kinds.items():
            _check_kind(name, one, options)
        self._counts = [
            (name, counter(one.family), one, _clips(one, options))
            for name, one in self.kinds.items()
        ]

    def score(self, prediction: str, references: Sequence[str]) -> dict[str, Score]:
        """Type -> Score of one text. Raises InputError without a reference."""
        check_references(references)
        if self.options.variant == "1.5.5":
            return {n: self._perl(prediction, references, k) for n, k in self.kinds.items()}
        words = table(self.options.tokenizer, self.options.stem)
        given = Text(prediction, words)
        each = [self._against(given, Text(reference, words)) for reference in references]
        if len(each) == 1:
            return each[0]
        join = _best if self.options.multi == "best" else _mean
        return {name: join([scores[name] for scores in each]) for name in self.kinds}

    def _against(self, given: Text, reference: Text) -> dict[str, Score]:
        alpha = self.options.alpha
        return {
            name: _score(*count(given, reference, one, clip), alpha)
            for name, count, one, clip in self._counts
        }

    def _perl(self, prediction: str, references: Sequence[str], one: Kind) -> Score:
        asked = self.options
        reading = Reading(asked.stem, asked.drop_stop_words, asked.words, asked.bytes)
        formula: rouge_155.Formula = "B" if asked.multi == "best" else "A"
        found = rouge_155.score(prediction, references, one, reading, formula, asked.alpha)
        return Score(found.precision, found.recall, found.f)


def _check(options: Options) -> None:
    if options.variant is not None and options.variant not in VARIANTS:
        raise unknown("ROUGE variant", options.variant, VARIANTS)
    if options.multi not in MULTI:
        raise unknown("way to join references", options.multi, MULTI)
    if options.tokenizer not in TOKENIZERS:
        raise unknown("ROUGE tokenizer", options.tokenizer, TOKENIZERS)
    if not 0 <= options.alpha <= 1:
        raise InputError(f"ROUGE alpha is {options.alpha}; it must lie between 0 and 1.")
    perl = options.variant == "1.5.5"
    if not perl and (options.drop_stop_words or options.words or options.bytes):
        raise InputError("ROUGE limits texts and drops stop words in variant 1.5.5 only.")
    if perl and (options.tokenizer != "google" or not options.clip):
        raise InputError("ROUGE variant 1.5.5 has its own words (a-z and 0-9) and always clips.")
    if options.words < 0 or options.bytes < 0 or (options.words and options.bytes):
        raise InputError("ROUGE takes the first words or the first bytes of a text, one or more.")


def _check_kind(name: str, one: Kind, options: Options) -> None:
    if options.variant == "google" and one.family not in {"N", "L", "Lsum"}:
        raise InputError(f"{name}: google has N, L and Lsum only; valid variants: 1.5.5, paper.")
    if options.variant == "1.5.5" and one.family == "Lsum":
        raise InputError(f"{name}: ROUGE-1.5.5 has none; its rougeL reads one sentence a line.")


def _clips(one: Kind, options: Options) -> bool:
    """Whether to clip: the union LCS as published is not clipped; every other kind is."""
    return options.clip and not (one.family == "Lsum" and options.variant == "paper")


def _score(precision: float, recall: float, alpha: float) -> Score:
    below = (1 - alpha) * precision + alpha * recall
    if not below:
        return Score(precision, recall, 0.0)
    return Score(precision, recall, precision * recall / below)


def _best(scores: Sequence[Score]) -> Score:
    return max(scores, key=lambda s: s.f)


def _mean(scores: Sequence[Score]) -> Score:
    return Score(*(sum(values) / len(scores) for values in zip(*scores, strict=True)))
