"""Scores and what can be concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brulee.errors import InputError, unknown
from brulee.evaluation import rouge
from brulee.evaluation.base import Array, MeanMetric, Metric
from brulee.evaluation.bits import BitsPerByte
from brulee.evaluation.bleu import Bleu
from brulee.evaluation.calibration import Brier, CalibrationError
from brulee.evaluation.chrf import Chrf
from brulee.evaluation.classification import MacroF1, Matthews
from brulee.evaluation.correlation import Pearson, Spearman
from brulee.evaluation.extractiveness import Extractiveness
from brulee.evaluation.faithfulness import Faithfulness
from brulee.evaluation.json_by_schema import by_schema, is_by_schema
from brulee.evaluation.json_fields import JsonFields
from brulee.evaluation.matching import ExactMatch, FinalAnswer, QuasiExactMatch, TokenF1
from brulee.evaluation.ranking import Ranked
from brulee.evaluation.rouge import Rouge
from brulee.evaluation.rouge_kinds import EXAMPLES
from brulee.evaluation.ter import Ter
from brulee.evaluation.tool_calls import ToolCalls

__all__ = [
    "LABELLED", "LIKELIHOOD", "METRICS", "NUMERIC", "RANKED", "SOURCED", "STRUCTURED", "SUMMARIES",
    "Array", "MeanMetric", "Metric", "metric",
]  # fmt: skip

METRICS: dict[str, Metric] = {
    "rouge": Rouge(),
    "bleu": Bleu(),
    "chrf": Chrf(),
    "ter": Ter(),
    "accuracy": ExactMatch("accuracy"),
    "exact_match": ExactMatch(),
    "final_answer": FinalAnswer(),
    "quasi_exact_match": QuasiExactMatch(),
    "token_f1": TokenF1(),
}

# Scores of numbers that a model writes; a probability in the case of the last three.
NUMERIC: dict[str, Metric] = {
    "pearson": Pearson(),
    "spearman": Spearman(),
    "brier": Brier(),
    "ece": CalibrationError(),
    "ece_equal_width": CalibrationError("ece_equal_width", equal_mass=False),
}

# Scores of what a program is to read.
STRUCTURED: dict[str, Metric] = {
    "json": JsonFields(),
    "json:fenced": JsonFields(fenced=True),
    "json:unordered": JsonFields(unordered=True),
    "json:fenced:unordered": JsonFields(fenced=True, unordered=True),
    "tool_calls": ToolCalls(),
    "tool_calls:loose": ToolCalls(loose=True),
}

# Scores against what the model read, not against references.
SOURCED: dict[str, Metric] = {
    "faithfulness": Faithfulness(),
    "extractiveness": Extractiveness(),
}

# Scores of the likeliest of a template's answer choices.
RANKED: dict[str, Metric] = {
    "ranked_accuracy": Ranked("ranked_accuracy", ExactMatch()),
    "ranked_accuracy_norm": Ranked("ranked_accuracy_norm", ExactMatch(), per_byte=True),
}

# How likely a plain text is, of which no part is an answer.
LIKELIHOOD: dict[str, BitsPerByte] = {"bits_per_byte": BitsPerByte()}

# Scores of a confusion table, which exist only for a known list of labels.
LABELLED: dict[str, Callable[[Sequence[str]], Metric]] = {
    "macro_f1": MacroF1,
    "matthews": Matthews,
    "ranked_macro_f1": lambda labels: Ranked("ranked_macro_f1", MacroF1(labels)),
    "ranked_matthews": lambda labels: Ranked("ranked_matthews", Matthews(labels)),
}

SUMMARIES: dict[str, str] = {
    "rouge": "ROUGE-1, -2 and -L: words, pairs and sequences shared with a reference",
    "bleu": "BLEU of the whole test, sacrebleu's",
    "chrf": "chrF2 of the whole test, sacrebleu's: shared letters",
    "ter": "TER of the whole test, sacrebleu's: edits, of which fewer are better",
    "accuracy": "the share of answers that are the reference",
    "exact_match": "the same, by another name",
    "final_answer": "the share whose text after the last 'answer is' is the reference's",
    "quasi_exact_match": "exact match without case, articles and punctuation",
    "token_f1": "F1 of the words shared with the best reference",
    "pearson": "Pearson's correlation of numbers",
    "spearman": "Spearman's rank correlation of numbers",
    "brier": "squared distance of a probability from the outcome; less is better",
    "ece": "calibration error of probabilities, bins of equal mass; less is better",
    "ece_equal_width": "the same with bins of equal width",
    "json": "answers that are JSON, or the reference; precision, recall, F1 of their fields",
    "json:fenced": "the same of JSON that may stand in a ```json fence, beside other text",
    "json:unordered": "json, with lists in any order",
    "json:fenced:unordered": "json:fenced, with lists in any order",
    "json:schema=FILE": "the share of answers that are valid by the JSON Schema in a file",
    "tool_calls": "whether the tools that are called, or not, are those of the reference",
    "tool_calls:loose": "the same without case, spaces and some signs",
    "faithfulness": "the share of names and numbers that the prompt has; answers that invent one",
    "extractiveness": "how much of the prompt is copied, and how much is new",
    "macro_f1": "F1 averaged over the task's labels",
    "matthews": "Matthews' correlation over the task's labels",
    "ranked_accuracy": "the share of items whose likeliest answer choice is right",
    "ranked_accuracy_norm": "the same, by the likelihood for each byte of a choice",
    "ranked_macro_f1": "macro_f1 of the likeliest answer choices",
    "ranked_matthews": "matthews of the likeliest answer choices",
    "bits_per_byte": "of plain text: bits of surprise for each byte; fewer are better",
}


def metric(name: str, labels: Sequence[str] | None = None) -> Metric:
    """The metric of that name; "rouge2", "rougeL:recall" and so on give that one score of ROUGE.

    `labels` are needed by macro_f1 and matthews, ranked or not, and ignored by the others.
    Raises InputError for an unknown name (with the nearest valid ones) or for missing labels.
    """
    for known in (METRICS, NUMERIC, STRUCTURED, SOURCED, RANKED, LIKELIHOOD):
        if name in known:
            return known[name]
    if is_by_schema(name):
        return by_schema(name)
    if rouge.is_rouge(name):
        return rouge.parse(name)
    if name not in LABELLED:
        named = (METRICS, NUMERIC, STRUCTURED, SOURCED, RANKED, LIKELIHOOD, LABELLED, EXAMPLES)
        raise unknown("metric", name, [other for known in named for other in known])
    if labels is None:
        raise InputError(f"metric {name} needs the task's labels (its answer choices).")
    return LABELLED[name](labels)
