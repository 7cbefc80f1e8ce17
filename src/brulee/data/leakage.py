"""Leakage: what the splits of a task have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brulee.data.grouping import clusters
from brulee.data.normalised import digest, normalise, telling_texts
from brulee.data.splits import NAMES

if TYPE_CHECKING:
    from brulee.data.task import Task

Kind = Literal["input", "near-duplicate", "target", "pair"]
Severity = Literal["none", "warning", "error"]
Pairs = Mapping[str, Mapping[int, tuple[bytes, bytes]]]
Near = Sequence[int] | Mapping[int, int]

_EXAMPLES = 3
# The separator of columns, neither a word nor white space: ("5", "") must differ from ("", "5").
_NEXT_COLUMN = "\n\N{SYMBOL FOR UNIT SEPARATOR}\n"
# With fewer rows per distinct target than this, targets are texts and not labels.
_ROWS_PER_LABEL = 4


@dataclass(frozen=True)
class Overlap:
    """Rows of the smaller of two splits that match rows of the other.

    `kind` says what matches; near-duplicates exclude exact matches of the input. `examples` are
    pairs of a row of `first` and a row of `second`.
    """

    kind: Kind
    first: str
    second: str
    smaller: str
    rows: int
    share: float
    severity: Severity
    examples: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Leakage:
    """The overlaps between all pairs of non-empty splits, of every kind.

    `labels` is whether there are few enough targets to be labels, which splits naturally share.
    """

    rows: dict[str, int]
    distinct_targets: int
    labels: bool
    overlaps: tuple[Overlap, ...]

    @property
    def errors(self) -> tuple[Overlap, ...]:
        """The overlaps that inflate a score: by input or by pair."""
        return tuple(overlap for overlap in self.overlaps if overlap.severity == "error")

    def overlap(self, kind: Kind, first: str, second: str) -> Overlap:
        """The overlap of one kind between two splits, named in the order train, ..., test."""
        named = {(o.kind, o.first, o.second): o for o in self.overlaps}
        return named[kind, first, second]

    def to_dict(self, place: Callable[[int], str] | None = None) -> dict[str, Any]:
        """Plain values; examples are row numbers, or the rows' locations if `place` is given."""
        name: Callable[[int], Any] = place or int
        return {
            "rows": self.rows,
            "distinct_targets": self.distinct_targets,
            "targets_are_labels": self.labels,
            "overlaps": [_plain(overlap, name) for overlap in self.overlaps],
        }

    def sentences(self, place: Callable[[int], str]) -> list[tuple[Severity, str]]:
        """Sentences for people, the worst first, or one saying that there is no leak."""
        if not self.overlaps:
            return [("none", "There is one split, so nothing can leak.")]
        order: tuple[Severity, ...] = ("error", "warning")
        found = [o for severity in order for o in self.overlaps if o.severity == severity]
        said: list[tuple[Severity, str]] = [(o.severity, self._sentence(o, place)) for o in found]
        if not self.errors:
            said.insert(0, ("none", "No input is in two splits."))
        if self.labels:
            few = f"The targets are labels ({self.distinct_targets} distinct)"
            said.append(("none", f"{few}, which splits naturally share."))
        return said

    def _sentence(self, overlap: Overlap, place: Callable[[int], str]) -> str:
        other = overlap.first if overlap.smaller == overlap.second else overlap.second
        of = f"{overlap.rows} of the {self.rows[overlap.smaller]} {overlap.smaller} rows"
        what = _WORDING[overlap.kind].format(
            have="has" if overlap.rows == 1 else "have", other=other
        )
        a, b = overlap.examples[0]
        return f"{of} ({overlap.share:.1%}) {what}: {place(a)} and {place(b)}."


_WORDING: dict[Kind, str] = {
    "input": "{have} an input that is also in {other}",
    "near-duplicate": "{have} an input that is a near-duplicate of one in {other}",
    "target": "{have} a target that is also in {other}",
    "pair": "{have} an input-target pair that is also in {other}",
}


def input_text(values: Sequence[Any], prompt: str) -> str:
    """The text of a row's source columns, or the whole prompt if they are empty."""
    texts = ["" if value is None else str(value) for value in values]
    return _NEXT_COLUMN.join(texts) if any(texts) else prompt


def pair_of(source: str, target: str) -> tuple[bytes, bytes]:
    """What is compared of an input and a target: digests, without case, white space and form."""
    return digest(normalise(source)), digest(normalise(target))


def leakage(pairs: Pairs, near: Near) -> Leakage:
    """Find overlaps between splits, given split -> row -> what `pair_of` gives for the row.

    The input is a row's text before templating, so the same text under two phrasings is the same
    input. `near` is the number of each row's cluster of near-duplicates. Shared inputs or pairs are
    errors; near-duplicates are warnings, as are shared targets, unless these are labels: at most a
    quarter as many distinct ones as rows.
    """
    order = [n for n in (*NAMES, *(n for n in pairs if n not in NAMES)) if pairs.get(n)]
    inputs = {split: {i: x for i, (x, _) in pairs[split].items()} for split in order}
    targets = {split: {i: y for i, (_, y) in pairs[split].items()} for split in order}
    distinct = len(set().union(*(of.values() for of in targets.values())))
    rows = {split: len(pairs[split]) for split in order}
    labels = distinct * _ROWS_PER_LABEL <= sum(rows.values())
    severities: dict[Kind, Severity] = {"input": "error", "pair": "error"}
    severities |= {"near-duplicate": "warning", "target": "none" if labels else "warning"}
    overlaps = []
    for a, b in itertools.combinations(order, 2):
        repeated = set(inputs[a].values()) & set(inputs[b].values())
        apart = {
            split: {i: near[i] for i, x in inputs[split].items() if x not in repeated}
            for split in (a, b)
        }
        compared: dict[Kind, Mapping[str, Mapping[int, Any]]] = {
            "input": inputs, "near-duplicate": apart, "target": targets, "pair": pairs,
        }  # fmt: skip
        sizes = {split: rows[split] for split in (a, b)}
        overlaps += [_overlap(k, by, sizes, severities[k]) for k, by in compared.items()]
    return Leakage(rows, distinct, labels, tuple(overlaps))


def near_of(task: Task, rows: Sequence[int]) -> Near:
    """The number of each row's cluster of near-duplicates: the split's, if it looked for them."""
    columns, splits = task.templates.source_columns, task.splits
    if splits.near is not None and splits.near_columns == columns:
        return splits.near
    found = clusters(telling_texts(task.rows, columns).some(rows))
    return {row: rows[first] for row, first in zip(rows, found, strict=True)}


def _overlap(
    kind: Kind,
    values: Mapping[str, Mapping[int, Any]],
    sizes: Mapping[str, int],
    severity: Severity,
) -> Overlap:
    first, second = sizes
    smaller, other = (first, second) if sizes[first] < sizes[second] else (second, first)
    places = _first_rows(values[other].items())
    met = [(i, places[value]) for i, value in values[smaller].items() if value in places]
    examples = [(i, j) if smaller == first else (j, i) for i, j in met[:_EXAMPLES]]
    share = len(met) / sizes[smaller]
    worst: Severity = severity if met else "none"
    return Overlap(kind, first, second, smaller, len(met), share, worst, tuple(examples))


def _first_rows(rows: Iterable[tuple[int, Any]]) -> dict[Any, int]:
    first: dict[Any, int] = {}
    for i, value in rows:
        first.setdefault(value, i)
    return first


def _plain(overlap: Overlap, name: Callable[[int], Any]) -> dict[str, Any]:
    return {
        "kind": overlap.kind,
        "between": [overlap.first, overlap.second],
        "smaller": overlap.smaller,
        "rows": overlap.rows,
        "share": round(overlap.share, 4),
        "severity": overlap.severity,
        "examples": [[name(a), name(b)] for a, b in overlap.examples],
    }
