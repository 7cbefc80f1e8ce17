"""SuperGLUE's single-label tasks (Wang et al. 2019) and their prompts.

Prompts and answers are those of lm-evaluation-harness.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from brulee.errors import InputError, unknown
from brulee.evaluation.suites.rows import Row

Asked = tuple[str, tuple[str, ...]]  # the prompt, and the answers to compare


@dataclass(frozen=True)
class Entry:
    """One task; `labels` are as in a submission, in the order of the answers."""

    name: str
    file: str  # its folder, and its file in a submission
    rows: int  # in the test set
    hub: str
    labels: tuple[str, ...]
    ask: Callable[[Row], Asked]
    scores: tuple[str, ...] = ("accuracy",)
    hub_labels: tuple[str, ...] = ()  # if the Hub numbers them in a different order


def gold(entry: Entry, row: Row) -> str | None:
    """The correct label; None if it is not published. Raises InputError for an unknown one."""
    value: Any = row.values.get("label")
    if value is None or value == -1:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return row.label(entry.hub_labels or entry.labels, "label")
    label = str(value) if str(value) in entry.labels else str(value).lower()
    if label not in entry.labels:
        raise unknown("label", value, entry.labels, row.place)
    return label


def _boolq(row: Row) -> Asked:
    question = f"{row.text('passage')}\nQuestion: {row.text('question')}?\nAnswer:"
    return question, (" no", " yes")


def _cb(row: Row) -> Asked:
    question = (
        f"{row.text('premise')}\nQuestion: {row.text('hypothesis')}. "
        "True, False, or Neither?\nAnswer:"
    )
    return question, (" True", " False", " Neither")


def _copa(row: Row) -> Asked:
    joins = {"cause": "because", "effect": "therefore"}
    asks = row.text("question")
    if asks not in joins:
        raise unknown("question of COPA", asks, joins, row.place)
    choices = [row.text(name) for name in ("choice1", "choice2")]
    endings = tuple(f" {choice[:1].lower()}{choice[1:]}" for choice in choices)
    return f"{row.text('premise').strip()[:-1]} {joins[asks]}", endings


def _entailment(row: Row) -> Asked:
    premise = row.text("premise", "sentence1")
    hypothesis = row.text("hypothesis", "sentence2")
    return f"{premise}\nQuestion: {hypothesis} True or False?\nAnswer:", (" True", " False")


def _wic(row: Row) -> Asked:
    first = row.text("sentence1")
    word = first[row.number("start1") : row.number("end1")]
    question = (
        f"Sentence 1: {first}\nSentence 2: {row.text('sentence2')}\n"
        f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:"
    )
    return question, (" no", " yes")


def _wsc(row: Row) -> Asked:
    inside = row.values.get("target", row.values)
    if not isinstance(inside, dict):
        raise InputError(f"{row.place}: 'target' must be an object, not {inside!r}.")
    target = Row(f"{row.place}, target", inside)
    noun, pronoun = target.text("span1_text"), target.text("span2_text")
    words = row.text("text").split()
    start = target.number("span2_index")
    # The pronoun is marked; anything attached to it, such as a comma, stays after the mark.
    after = " ".join(words[start:])[len(pronoun) :]
    marked = " ".join([*words[:start], f"*{pronoun}*{after}"])
    question = (
        f"Passage: {_untokenised(marked)}\nQuestion: In the passage above, does the pronoun "
        f'"*{pronoun}*" refer to "*{noun}*"?\nAnswer:'
    )
    return question, (" no", " yes")


def _untokenised(text: str) -> str:
    """Detokenise: reattach punctuation that is separated from its word."""
    for parted, whole in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(parted, whole)
    return re.sub(r" (['.,])", r"\1", text)


_ENTAILS: Final = ("entailment", "not_entailment")
_TRUTH: Final = ("false", "true")

ENTRIES: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in (
        Entry("boolq", "BoolQ", 3245, "boolq", _TRUTH, _boolq),
        Entry(
            "cb", "CB", 250, "cb", ("entailment", "contradiction", "neutral"), _cb,
            ("macro_f1", "accuracy"),
        ),
        Entry("copa", "COPA", 500, "copa", ("0", "1"), _copa),
        Entry("rte", "RTE", 3000, "rte", _ENTAILS, _entailment),
        Entry("wic", "WiC", 1400, "wic", _TRUTH, _wic),
        Entry("wsc", "WSC", 146, "wsc.fixed", _TRUTH, _wsc),
        Entry("axb", "AX-b", 1104, "axb", _ENTAILS, _entailment, ("matthews",)),
        Entry("axg", "AX-g", 356, "axg", _ENTAILS, _entailment, ("accuracy", "gender_parity")),
    )
}  # fmt: skip
