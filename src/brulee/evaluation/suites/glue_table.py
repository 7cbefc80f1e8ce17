"""The properties of each GLUE task (Wang et al. 2019), as a table.

Labels are written as in a submission, in the order of the Hub copy's numbers; `words` are the
answers that lm-evaluation-harness compares, `t5` those of T5's text-to-text format; `texts` maps
T5's names for the parts of the input to their columns. `rows` is the number of predictions that the
leaderboard accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Files = tuple[tuple[str, ...], ...]  # alternatives, each of one or more files

_DEV: Final[Files] = (("dev.tsv",),)
_TEST: Final[Files] = (("test.tsv",),)
_SENTENCES: Final = {"sentence1": ("sentence1",), "sentence2": ("sentence2",)}
_ENTAILS: Final = "{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:"
_NLI: Final = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Entry:
    """One task's files, columns, texts and scores."""

    name: str
    file: str  # in a submission, without .tsv
    rows: tuple[int, ...]
    folders: tuple[str, ...]
    hub: str
    texts: Mapping[str, tuple[str, ...]]
    prompt: str
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    t5: tuple[str, ...] = ()
    t5_name: str = ""
    gold: tuple[str, ...] = ("label",)
    scores: tuple[str, ...] = ("accuracy",)
    dev: Files = _DEV
    test: Files = _TEST
    hub_dev: str = "validation"
    hub_test: str = "test"
    headless: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # file -> its columns
    with_stop: str = ""  # the text that gets a final full stop if it has none


_COLA: Final = ("source", "label", "mark", "sentence")


def _inference(
    name: str,
    file: str,
    rows: int,
    dev: str,
    test: Files,
    folders: tuple[str, ...] = ("MNLI", ""),
    scores: tuple[str, ...] = ("accuracy",),
) -> Entry:
    """An MNLI half, or the diagnostic set, which uses the same prompt."""
    half = name.removeprefix("mnli").replace("-mm", "_mismatched").replace("-m", "_matched")
    return Entry(
        name, file, (rows,), folders, "ax" if name == "ax" else "mnli",
        {
            "hypothesis": ("sentence2", "hypothesis", "Hypothesis"),
            "premise": ("sentence1", "premise", "Premise"),
        },
        "{premise}\nQuestion: {hypothesis} True, False or Neither?\nAnswer:",
        labels=_NLI, words=("True", "Neither", "False"), t5=_NLI, t5_name="mnli",
        gold=("gold_label", "label", "Label"), scores=scores, dev=((dev,),), test=test,
        hub_dev="test" if name == "ax" else f"validation{half}",
        hub_test="test" if name == "ax" else f"test{half}", with_stop="hypothesis",
    )  # fmt: skip


ENTRIES: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in (
        Entry(
            "cola", "CoLA", (1063,), ("CoLA",), "cola", {"sentence": ("sentence",)},
            "{sentence}\nQuestion: Does this sentence make sense?\nAnswer:",
            labels=("0", "1"), words=("no", "yes"), t5=("unacceptable", "acceptable"),
            scores=("matthews",),
            dev=(("dev.tsv",), ("in_domain_dev.tsv", "out_of_domain_dev.tsv")),
            headless=dict.fromkeys(
                ("dev.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv"), _COLA
            ),
        ),
        Entry(
            "sst2", "SST-2", (1821,), ("SST-2",), "sst2", {"sentence": ("sentence",)},
            "{sentence}\nQuestion: Is this sentence positive or negative?\nAnswer:",
            labels=("0", "1"), words=("negative", "positive"), t5=("negative", "positive"),
        ),
        Entry(
            "mrpc", "MRPC", (1725,), ("MRPC",), "mrpc",
            {"sentence1": ("#1 String", "sentence1"), "sentence2": ("#2 String", "sentence2")},
            "Sentence 1: {sentence1}\nSentence 2: {sentence2}\n"
            "Question: Do both sentences mean the same thing?\nAnswer:",
            labels=("0", "1"), words=("no", "yes"), t5=("not_equivalent", "equivalent"),
            gold=("Quality", "label"), scores=("f1", "accuracy"),
            test=(("test.tsv",), ("msr_paraphrase_test.txt",)),
        ),
        Entry(
            "stsb", "STS-B", (1379,), ("STS-B",), "stsb", _SENTENCES,
            "Sentence 1: {sentence1}\nSentence 2: {sentence2}\n"
            "Question: From 0 to 5, how alike are the meanings of both sentences?\nAnswer:",
            gold=("score", "label"), scores=("pearson", "spearman"),
        ),
        Entry(
            "qqp", "QQP", (390965,), ("QQP",), "qqp",
            {"question1": ("question1",), "question2": ("question2",)},
            "Question 1: {question1}\nQuestion 2: {question2}\n"
            "Question: Do both questions ask the same thing?\nAnswer:",
            labels=("0", "1"), words=("no", "yes"), t5=("not_duplicate", "duplicate"),
            gold=("is_duplicate", "label"), scores=("f1", "accuracy"),
        ),
        _inference("mnli-m", "MNLI-m", 9796, "dev_matched.tsv", (("test_matched.tsv",),)),
        _inference("mnli-mm", "MNLI-mm", 9847, "dev_mismatched.tsv", (("test_mismatched.tsv",),)),
        Entry(
            "qnli", "QNLI", (5463, 5740), ("QNLI",), "qnli",
            {"question": ("question",), "sentence": ("sentence",)},
            "{question}\n{sentence}\nQuestion: Does this response answer the question?\nAnswer:",
            labels=("entailment", "not_entailment"), words=("yes", "no"),
            t5=("entailment", "not_entailment"),
        ),
        Entry(
            "rte", "RTE", (3000,), ("RTE",), "rte", _SENTENCES, _ENTAILS,
            labels=("entailment", "not_entailment"), words=("True", "False"),
            t5=("entailment", "not_entailment"),
        ),
        Entry(
            "wnli", "WNLI", (146,), ("WNLI",), "wnli", _SENTENCES, _ENTAILS,
            labels=("0", "1"), words=("False", "True"), t5=("not_entailment", "entailment"),
        ),
        _inference(
            "ax", "AX", 1104, "diagnostic-full.tsv", (("diagnostic.tsv",), ("AX.tsv",)),
            ("AX", "diagnostic", ""), ("matthews",),
        ),
    )
}  # fmt: skip

# The leaderboard's score is the mean of these, each the mean of its scores.
AVERAGED: Final = (
    ("cola",), ("sst2",), ("mrpc",), ("stsb",), ("qqp",), ("mnli-m", "mnli-mm"), ("qnli",),
    ("rte",), ("wnli",),
)  # fmt: skip
