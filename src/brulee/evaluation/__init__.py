"""Scores and what can be concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from brulee.errors import InputError, unknown
from brulee.evaluation import bleu, chrf, rouge, ter
from brulee.evaluation.base import Array, MeanMetric, Metric
from brulee.evaluation.bits import BitsPerByte
from brulee.evaluation.bleu import Bleu
from brulee.evaluation.boxed import BoxedAnswer
from brulee.evaluation.calibration import Brier, CalibrationError
from brulee.evaluation.chrf import Chrf
from brulee.evaluation.classification import MacroF1, Matthews
from brulee.evaluation.correlation import Pearson, Spearman
from brulee.evaluation.extractiveness import Extractiveness
from brulee.evaluation.faithfulness import Faithfulness
from brulee.evaluation.json_by_schema import OPTION, JsonBySchema, by_schema, is_by_schema
from brulee.evaluation.json_fields import JsonFields
from brulee.evaluation.matching import ExactMatch, FinalAnswer, QuasiExactMatch, TokenF1
from brulee.evaluation.ranking import Ranked
from brulee.evaluation.rouge import Rouge
from brulee.evaluation.rouge_kinds import EXAMPLES
from brulee.evaluation.ter import Ter
from brulee.evaluation.tool_calls import ToolCalls

__all__ = [
    "LABELLED",
    "METRICS",
    "Array",
    "MeanMetric",
    "Metric",
    "metric",
    "of_texts",
    "summaries",
]

METRICS: dict[str, Metric] = {
    "rouge": Rouge(),
    "bleu": Bleu(),
    "chrf": Chrf(),
    "ter": Ter(),
    "accuracy": ExactMatch("accuracy"),
    "exact_match": ExactMatch(),
    "final_answer": FinalAnswer(),
    "boxed_answer": BoxedAnswer(),
    "quasi_exact_match": QuasiExactMatch(),
    "token_f1": TokenF1(),
    # For numbers that a model generates; the last three are for a probability.
    "pearson": Pearson(),
    "spearman": Spearman(),
    "brier": Brier(),
    "ece": CalibrationError(),
    "ece_equal_width": CalibrationError("ece_equal_width", equal_mass=False),
    # For machine-readable output.
    "json": JsonFields(),
    "json:fenced": JsonFields(fenced=True),
    "json:unordered": JsonFields(unordered=True),
    "json:fenced:unordered": JsonFields(fenced=True, unordered=True),
    "tool_calls": ToolCalls(),
    "tool_calls:loose": ToolCalls(loose=True),
    # Against the prompt, not against references.
    "faithfulness": Faithfulness(),
    "extractiveness": Extractiveness(),
    # For the most likely of a template's answer choices.
    "ranked_accuracy": Ranked("ranked_accuracy", ExactMatch()),
    "ranked_accuracy_norm": Ranked("ranked_accuracy_norm", ExactMatch(), per_byte=True),
    # For plain text without an answer.
    "bits_per_byte": BitsPerByte(),
}

# Scores of a confusion matrix, defined only for a known list of labels.
LABELLED: dict[str, Callable[[Sequence[str]], Metric]] = {
    "macro_f1": MacroF1,
    "matthews": Matthews,
    "ranked_macro_f1": lambda labels: Ranked("ranked_macro_f1", MacroF1(labels)),
    "ranked_matthews": lambda labels: Ranked("ranked_matthews", Matthews(labels)),
}


_SIGNATURES = {"bleu": bleu.signature, "chrf": chrf.signature, "ter": ter.signature}


def metric(name: str, labels: Sequence[str] | None = None) -> Metric:
    """The metric of that name; "rouge2", "rougeL:recall" and so on give a single ROUGE score.

    macro_f1 and matthews, ranked or not, need `labels`; the others ignore them.
    Raises InputError for an unknown name (with the nearest valid ones) or for missing labels.
    """
    if name in METRICS:
        return METRICS[name]
    if is_by_schema(name):
        return by_schema(name)
    if rouge.is_rouge(name):
        return rouge.parse(name)
    if name not in LABELLED:
        raise unknown("metric", name, [*METRICS, *LABELLED, *EXAMPLES])
    if labels is None:
        raise InputError(f"metric {name} needs the task's labels (its answer choices).")
    return LABELLED[name](labels)


def of_score(key: str) -> Metric | None:
    """The metric that gives a score of results.json; None if it depends on labels or a schema."""
    given = next((one for one in METRICS.values() if key in one.keys), None)
    return rouge.parse(key) if given is None and rouge.is_rouge(key) else given


def of_texts(name: str) -> bool:
    """Whether the metric of that name scores plain texts without an answer."""
    return name in METRICS and METRICS[name].asks == "likelihood"


def signatures(keys: Iterable[str], references: int | str = "var") -> dict[str, str]:
    """The signature of each of these scores that sacrebleu defines, for `references` texts an item.

    Scores are comparable if their signatures are equal.
    """
    return {key: _SIGNATURES[key](references) for key in keys if key in _SIGNATURES}


def summaries() -> dict[str, str]:
    """What each metric measures, in a few words, by its name in a recipe."""
    labelled = {name: made(("yes", "no")) for name, made in LABELLED.items()}  # any labels do
    found = {name: one.summary for name, one in (METRICS | labelled).items()}
    return found | {f"json{OPTION}FILE": JsonBySchema.summary}
