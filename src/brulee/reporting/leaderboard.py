"""Compare several models on several suites: arrange scores in columns, find the leaders.

A leaderboard is built from result files alone (leaderboard_files.py reads them);
leaderboard_page.py and leaderboard_text.py show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from brulee.evaluation.win_rate import Column as Compared
from brulee.evaluation.win_rate import mean_win_rates

PARTIAL: Final = "_partial"  # suffix in results.json for an average over only some parts
_NAMED: Final = 3  # most phrasings in a column's name
# Scores for which lower is better, for files that do not say so.
_LOWER: Final = (
    "ece", "brier", "ter", "invented", "invalid", "bits_per_byte", "perplexity", "toxic", "bias",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One score of one model. `low` and `high` are its 95% interval, None if there is none.

    `main` marks a headline score: a suite's average, or a task's first score. `phrasings` are those
    that it averages over, if several; `wording` is a digest of the item texts, "" if unknown.
    Neither a high nor a low `descriptive` score is better. `base` identifies the weights of a base
    measured alone, "" if unknown.
    """

    model: str
    task: str
    metric: str
    value: float
    low: float | None
    high: float | None
    items: int | None
    source: str
    main: bool = True
    higher_is_better: bool = True
    phrasings: tuple[str, ...] = ()
    wording: str = ""
    descriptive: bool = False
    base: str = ""

    @property
    def partial(self) -> bool:
        """Whether this is an average over a part of its suite, hence not an official number."""
        return self.metric.endswith(PARTIAL)

    @property
    def column(self) -> tuple[str, str]:
        """The column's key: two scores are comparable if their keys are equal."""
        return self.task, self.metric.removesuffix(PARTIAL)

    def contradicts(self, other: Entry) -> bool:
        """Whether one model cannot have both scores: one base may differ on more items."""
        on_more = self.base and self.base == other.base and self.items != other.items
        return self.value != other.value and not on_more


@dataclass(frozen=True)
class Leaderboard:
    """Models, columns and entries; `wins` maps a model to its mean win rate.

    Models are sorted by win rate, those without one last.
    """

    models: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]
    wins: dict[str, float]

    def entry(self, model: str, column: tuple[str, str]) -> Entry | None:
        """The model's score in a column."""
        return next((e for e in self.entries if (e.model, e.column) == (model, column)), None)

    def best(self, column: tuple[str, str]) -> Entry | None:
        """The best score of a column, the first of equals.

        None if it has fewer than two, or descriptive ones.
        """
        found = [entry for entry in self.entries if entry.column == column]
        if len(found) < 2 or any(entry.descriptive for entry in found):
            return None
        sign = 1 if found[0].higher_is_better else -1
        return max(found, key=lambda entry: sign * entry.value)

    def items(self, column: tuple[str, str]) -> tuple[int, int] | None:
        """The fewest and the most items of a column's scores; None if all have equally many."""
        found = {e.items for e in self.entries if e.column == column and e.items is not None}
        return (min(found), max(found)) if len(found) > 1 else None

    def reworded(self, column: tuple[str, str]) -> list[list[str]]:
        """A column's models grouped by their item texts; empty unless known to differ."""
        found: dict[str, list[str]] = {}
        for e in self.entries:
            if e.column == column and e.wording:
                found.setdefault(e.wording, []).append(e.model)
        return list(found.values()) if len(found) > 1 else []

    def near_best(self, entry: Entry) -> bool:
        """Whether an entry's interval includes the best score, so that it may be as good."""
        best = self.best(entry.column)
        if best is None or entry.low is None or entry.high is None:
            return False
        return entry.low <= best.value <= entry.high


def leaderboard(entries: Iterable[Entry], tasks: bool = False) -> Leaderboard:
    """Arrange entries in columns: only main scores, or with `tasks` all of them.

    If a model has two scores in a column, the one over more items counts, or the later one if these
    are equal, so that a file named later replaces an earlier one.
    """
    found: dict[tuple[str, tuple[str, str]], Entry] = {}
    for entry in entries:
        key = entry.model, entry.column
        if (entry.main or tasks) and not _fewer(entry, found.get(key)):
            found[key] = entry
    kept = tuple(found.values())
    columns = tuple(dict.fromkeys(entry.column for entry in kept))
    told = {entry.column for entry in kept if entry.descriptive}
    wins = mean_win_rates([_compared(kept, column) for column in columns if column not in told])
    models = dict.fromkeys(entry.model for entry in kept)
    ranked = sorted(models, key=lambda model: -wins.get(model, -1.0))
    return Leaderboard(tuple(ranked), columns, kept, wins)


def in_unlike_phrasings(entries: Sequence[Entry]) -> list[Entry]:
    """Make entries of one task over different phrasings into different tasks.

    Their task names then list the phrasings that not all entries share, or those they lack.
    """
    sets: dict[str, set[frozenset[str]]] = {}
    for entry in entries:
        if entry.phrasings:
            sets.setdefault(entry.task, set()).add(frozenset(entry.phrasings))
    return [
        replace(entry, task=entry.task + _unlike(entry.phrasings, sets[entry.task]))
        if entry.phrasings
        else entry
        for entry in entries
    ]


def _unlike(names: Sequence[str], sets: set[frozenset[str]]) -> str:
    if len(sets) < 2:
        return ""
    shared = frozenset.intersection(*sets)
    own = [name for name in names if name not in shared]
    missing = sorted(frozenset.union(*sets).difference(names))
    listed = own or missing
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f" [{'with' if own else 'without'} {', '.join(map(repr, listed[:_NAMED]))}{more}]"


def _fewer(entry: Entry, other: Entry | None) -> bool:
    """Whether a score is known to be over fewer items than another."""
    if other is None or entry.items is None or other.items is None:
        return False
    return entry.items < other.items


def lower_is_better(metric: str) -> bool:
    """Whether a metric is an error by its name; a filter's name after a comma is ignored."""
    name = metric.removesuffix(PARTIAL).partition(",")[0]
    return any(part in _LOWER for part in name.replace("[", "_").split("_")) or name in _LOWER


def _compared(entries: Sequence[Entry], column: tuple[str, str]) -> Compared:
    of = [entry for entry in entries if entry.column == column]
    return Compared({entry.model: entry.value for entry in of}, of[0].higher_is_better)
