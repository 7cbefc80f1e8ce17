"""A summary of a task's split: sizes, groups, labels, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brulee.data.leakage import Leakage, Severity, input_text, leakage, near_of, pair_of
from brulee.data.rows import spellings
from brulee.data.splits import NAMES
from brulee.data.task import Task
from brulee.data.template import Rendered
from brulee.data.templates import TemplateSet
from brulee.progress import waiting

# With more distinct targets than this, they are not counted one by one.
_MOST_LABELS: Final = 200


@dataclass(frozen=True)
class SplitSummary:
    """The splits of one task.

    `counts` are the numbers of rows in use and `groups` of their groups, by split; `largest_group`
    is in rows. `labels` are the counts of each target by split, None if targets are texts or
    more than 200.
    """

    task: Task
    counts: dict[str, int]
    groups: dict[str, int]
    largest_group: int
    labels: dict[str, dict[str, int]] | None
    leakage: Leakage

    @property
    def sentences(self) -> list[tuple[Severity, str]]:
        """Sentences about leaks, with their severities."""
        return self.leakage.sentences(self.task.rows.place)

    @property
    def decided(self) -> str:
        """How the rows were assigned to splits."""
        splits, published = self.task.splits, sorted(self.task.rows.published)
        if set(published) == set(NAMES):
            return "published"
        cut = f"by {', '.join(splits.columns)}, salt {splits.spec.salt!r}"
        if splits.spec.stratify:
            cut += f", stratified by {splits.spec.stratify!r}"
        return f"{', '.join(published)} published, the rest {cut}" if published else cut

    def to_dict(self) -> dict[str, Any]:
        """The content of split.json, with the rows in use, their labels and the leakage report."""
        return {
            **self.task.splits.manifest(self.task.rows),
            "used": self.counts,
            "dropped": self.task.dropped,
            "groups_by_split": self.groups,
            "largest_group": self.largest_group,
            "targets": self.labels,
            "leakage": self.leakage.to_dict(self.task.rows.place),
        }


class Targets:
    """What the rows of a task ask and answer, noted while they are rendered to check them."""

    def __init__(self, templates: TemplateSet) -> None:
        self.pairs: dict[int, tuple[bytes, bytes]] = {}
        self.labels: dict[int, str] = {}
        self._columns = templates.source_columns
        self._distinct: dict[str, str] | None = {}

    def __call__(self, row: int, values: Mapping[str, Any], rendered: Rendered) -> None:
        """Take note of a row; its target only while there are few different ones."""
        spelled = spellings(values)
        said = [values[spelled[column]] for column in self._columns if column in spelled]
        target = rendered.completion
        self.pairs[row] = pair_of(input_text(said, rendered.prompt), target)
        if self._distinct is not None:
            self.labels[row] = self._distinct.setdefault(target, target)
            if len(self._distinct) > _MOST_LABELS:
                self._distinct = None
                self.labels.clear()


@waiting("Comparing splits")
def summarise(task: Task, seen: Targets) -> SplitSummary:
    """Compare the splits of a task, given what was seen of its rows."""
    parts: dict[str, tuple[int, ...]] = {name: getattr(task, name) for name in NAMES}
    pairs = {name: {i: seen.pairs[i] for i in part} for name, part in parts.items()}
    found = leakage(pairs, near_of(task, sorted(i for part in parts.values() for i in part)))
    groups = {name: Counter(task.splits.groups[i] for i in part) for name, part in parts.items()}
    sizes = sum(groups.values(), Counter[int]())
    return SplitSummary(
        task,
        {name: len(part) for name, part in parts.items()},
        {name: len(of) for name, of in groups.items()},
        max(sizes.values()),
        _labels(parts, seen.labels) if found.labels and seen.labels else None,
        found,
    )


def _labels(
    parts: Mapping[str, Sequence[int]], labels: Mapping[int, str]
) -> dict[str, dict[str, int]]:
    counts = {name: Counter(labels[i] for i in part) for name, part in parts.items()}
    order = [label for label, _ in sum(counts.values(), Counter[str]()).most_common()]
    return {name: {label: count[label] for label in order} for name, count in counts.items()}
