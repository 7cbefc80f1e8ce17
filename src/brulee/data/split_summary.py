"""A summary of a task's split: sizes, groups, labels, leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from brulee.data.leakage import Leakage, Severity, input_text, leakage
from brulee.data.row_checks import render
from brulee.data.splits import NAMES, telling_texts
from brulee.data.task import Task
from brulee.progress import bar

Texts = dict[str, dict[int, tuple[str, str]]]


@dataclass(frozen=True)
class SplitSummary:
    """The splits of one task.

    `counts` are the numbers of rows in use and `groups` of their groups, by split; `largest_group`
    is in rows. `labels` are the counts of each target by split, None if targets are texts.
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


def summarise(path: str, task: Task) -> SplitSummary:
    """Read all rows of a task in use and compare its splits; `path` labels the progress bar."""
    texts = _texts(path, task)
    telling = telling_texts(task.rows, task.templates.source_columns)
    found = leakage(texts, dict(enumerate(telling)))
    groups = {name: Counter(task.splits.groups[i] for i in getattr(task, name)) for name in NAMES}
    sizes = sum(groups.values(), Counter[int]())
    return SplitSummary(
        task,
        {name: len(getattr(task, name)) for name in NAMES},
        {name: len(of) for name, of in groups.items()},
        max(sizes.values()),
        _labels(texts) if found.labels else None,
        found,
    )


def _texts(path: str, task: Task) -> Texts:
    """The source text (or the whole prompt if that is empty) and the target of every row."""
    columns = [task.rows.column(column) for column in task.templates.source_columns]
    rows = {name: getattr(task, name) for name in NAMES}
    texts: Texts = {name: {} for name in NAMES}
    with bar(f"Comparing {path}", total=sum(map(len, rows.values())), unit="rows") as progress:
        for name, part in rows.items():
            for i, values in zip(part, task.rows.some(part), strict=True):
                shown = render(task.rows, i, values, task.templates.templates[0])
                assert shown is not None, "rows that no template applies to were dropped"
                source = input_text([column[i] for column in columns], shown.prompt)
                texts[name][i] = (source, shown.completion)
                progress.advance()
    return texts


def _labels(texts: Texts) -> dict[str, dict[str, int]]:
    counts = {name: Counter(target for _, target in of.values()) for name, of in texts.items()}
    labels = [label for label, _ in sum(counts.values(), Counter[str]()).most_common()]
    return {name: {label: count[label] for label in labels} for name, count in counts.items()}
