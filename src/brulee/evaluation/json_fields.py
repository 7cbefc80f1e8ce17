"""Scores of answers that must be JSON: their validity, and how many of their fields are correct.

A field is a text, number, true or false with the keys that lead to it (`json_values.leaves`).
Precision, recall and F1 are micro-averaged: the fields of the answers, of the references and of
both are counted over the whole test, repeats included (Chinchor 1992, "MUC-4 Evaluation Metrics";
Kim et al. 2022, "OCR-free Document Understanding Transformer", whose code flattens and counts the
same way). An item with ten fields weighs ten times as much as one with a single field; the mean of
per-item F1 is not reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from brulee.data import strict_json
from brulee.data.strict_json import NotJsonError
from brulee.errors import InputError
from brulee.evaluation.base import Array, Metric, check_references
from brulee.evaluation.json_values import Leaf, leaves, same

_COUNTED: Final = ("json_f1", "json_precision", "json_recall")
_SHARES: Final = ("json_match", "json_valid")
_SHOWN: Final = 60  # characters of a reference in a message


@dataclass(frozen=True)
class Read:
    """A text parsed as JSON: its value in canonical form, and its fields."""

    whole: Hashable
    fields: Counter[Leaf]


@final
class JsonFields(Metric):
    """F1, precision, recall of fields; shares of answers equal to the reference, and valid JSON.

    `fenced`: JSON may be in a code fence with other text around it, in answers and references.
    `unordered`: list order does not matter for equality; this affects only `json_match`.
    """

    summary = "answers that are JSON or equal the reference; precision, recall, F1 of fields"
    refuses = True

    def __init__(self, fenced: bool = False, unordered: bool = False) -> None:
        self.fenced, self._unordered = fenced, unordered
        options = ":fenced" * fenced + ":unordered" * unordered
        self.keys = tuple(f"{key}{options}" for key in (*_COUNTED, *_SHARES))
        if options:
            fence = ", also in a ```json fence with other text" * fenced
            self.summary = f"json{fence}{', with lists in any order' * unordered}"

    def read(self, text: str) -> Read | None:
        """A text parsed as JSON; None if it is not JSON."""
        try:
            return self._read(text)
        except NotJsonError:
            return None

    def check(self, references: Sequence[str]) -> None:
        """Raise InputError for no reference, and for one that is not JSON."""
        self._wanted(references)

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Counts of correct fields, of the answer's and of the reference's (3,); shares (1,).

        With several references, uses the one equal to the answer, else the one with the best F1. An
        answer that is not JSON has no fields, or one wrong field if the reference has none. Raises
        as `check`.
        """
        found, wanted = self.pair(prediction, references)
        counts, shares = _counts(found, wanted), (_is_match(found, wanted), found is not None)
        values = [*[counts] * len(_COUNTED), *(np.array([float(share)]) for share in shares)]
        return dict(zip(self.keys, values, strict=True))

    def pair(self, prediction: str, references: Sequence[str]) -> tuple[Read | None, Read]:
        """The parsed answer (None if it is not JSON) and the reference it is compared with."""
        found = self.read(prediction)

        def nearness(one: Read) -> tuple[bool, float]:
            return _is_match(found, one), float(_f1(_counts(found, one)))

        return found, max(self._wanted(references), key=nearness)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The ratio of summed counts for field scores, else the mean.

        If neither side has fields, the ratio is 1; if only the ratio's own side has none, it is 0.
        """
        del items
        mean = np.asarray(mean_S, dtype=np.float64)
        name = key.partition(":")[0]
        if name in _SHARES:
            return mean[..., 0]
        if name == "json_f1":
            return _f1(mean)
        of, other = (1, 2) if name == "json_precision" else (2, 1)
        return _ratio(mean[..., 0], mean[..., of], mean[..., other] == 0)

    def _read(self, text: str) -> Read:
        value: Any = (strict_json.read_fenced if self.fenced else strict_json.read)(text)
        return Read(same(value, self._unordered), Counter(leaves(value)))

    def _wanted(self, references: Sequence[str]) -> list[Read]:
        check_references(references)
        return [self._reference(text) for text in references]

    def _reference(self, text: str) -> Read:
        try:
            return self._read(text)
        except NotJsonError as error:
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            raise InputError(
                f"metric json compares JSON, and the reference {shown!r} is not JSON: "
                f"{error}.{self._hint(text)}"
            ) from None

    def _hint(self, text: str) -> str:
        """A hint about what was probably meant."""
        if not self.fenced and JsonFields(fenced=True).read(text) is not None:
            return " json:fenced reads JSON in a fence."
        if text.lstrip().startswith(("{'", "[{'", "['")):
            return " It is Python's; in a template {{ column | tojson }} writes JSON."
        return ""


def _is_match(found: Read | None, wanted: Read) -> bool:
    return found is not None and found.whole == wanted.whole


def _counts(found: Read | None, wanted: Read) -> Array:
    """The numbers of correct, found and expected fields: (3,)."""
    said = wanted.fields.total()
    if found is None:
        return np.array([0.0, float(said == 0), float(said)])
    right = (found.fields & wanted.fields).total()
    return np.array([right, found.fields.total(), said], dtype=np.float64)


def _f1(counts_S: Array) -> Array:
    """F1 of counts (..., 3): (...)."""
    both = counts_S[..., 1] + counts_S[..., 2]
    return _ratio(2 * counts_S[..., 0], both, both == 0)


def _ratio(part: Array, whole: Array, right: Array) -> Array:
    """Part over whole; if the whole is 0, 1 where `right` and else 0."""
    safe = np.where(whole > 0, whole, 1.0)
    return np.where(whole > 0, part / safe, np.asarray(right, dtype=np.float64))
