"""Several models on several suites: which score stands in which column, and who is ahead.

A leaderboard is made from finished files alone (leaderboard_files.py reads them);
leaderboard_page.py and leaderboard_text.py show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from brulee.evaluation.win_rate import Column as Compared
from brulee.evaluation.win_rate import mean_win_rates

PARTIAL: Final = "_partial"  # what results.json adds to the average of some parts only
_NAMED: Final = 3  # phrasings in a column's name
# Scores of which less is better, for files that do not say so.
_LOWER: Final = (
    "ece", "brier", "ter", "invented", "invalid", "bits_per_byte", "perplexity", "toxic", "bias",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One score of one model. `low` and `high` are its 95% interval, None where there is none.

    `main` marks what a suite is known by: its average, or a task's first score. `phrasings` are
    those that it is the mean over, if several; `wording` is a digest of the texts that its items
    were asked in, "" where that is not known.
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

    @property
    def partial(self) -> bool:
        """Whether this is the average of a part of its suite, which is not an official score."""
        return self.metric.endswith(PARTIAL)

    @property
    def column(self) -> tuple[str, str]:
        """What must agree for two scores to be compared."""
        return self.task, self.metric.removesuffix(PARTIAL)


@dataclass(frozen=True)
class Leaderboard:
    """Models, columns, and the entry where a model has one; `wins` is the mean win rate.

    The models come in the order of their win rates, those without one last.
    """

    models: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]
    wins: dict[str, float]

    def entry(self, model: str, column: tuple[str, str]) -> Entry | None:
        """The model's score in a column."""
        return next((e for e in self.entries if (e.model, e.column) == (model, column)), None)

    def best(self, column: tuple[str, str]) -> Entry | None:
        """The leading score of a column, the first of equals; None where one model has it alone."""
        found = [entry for entry in self.entries if entry.column == column]
        if len(found) < 2:
            return None
        sign = 1 if found[0].higher_is_better else -1
        return max(found, key=lambda entry: sign * entry.value)

    def items(self, column: tuple[str, str]) -> tuple[int, int] | None:
        """The fewest and the most items of a column's scores, where they are not of as many."""
        found = {e.items for e in self.entries if e.column == column and e.items is not None}
        return (min(found), max(found)) if len(found) > 1 else None

    def reworded(self, column: tuple[str, str]) -> list[list[str]]:
        """The models by the texts that a column was asked in, where those are known to differ."""
        found: dict[str, list[str]] = {}
        for e in self.entries:
            if e.column == column and e.wording:
                found.setdefault(e.wording, []).append(e.model)
        return list(found.values()) if len(found) > 1 else []

    def near_best(self, entry: Entry) -> bool:
        """Whether an entry's interval reaches the leading score, so that it may be as good."""
        best = self.best(entry.column)
        if best is None or entry.low is None or entry.high is None:
            return False
        return entry.low <= best.value <= entry.high


def leaderboard(entries: Iterable[Entry], tasks: bool = False) -> Leaderboard:
    """Entries side by side: the main scores, or with `tasks` every one.

    Of two scores of one model in one column the one on more items counts, and of as many the later,
    so that a file named later replaces an earlier one.
    """
    found: dict[tuple[str, tuple[str, str]], Entry] = {}
    for entry in entries:
        key = entry.model, entry.column
        if (entry.main or tasks) and not _fewer(entry, found.get(key)):
            found[key] = entry
    kept = tuple(found.values())
    columns = tuple(dict.fromkeys(entry.column for entry in kept))
    wins = mean_win_rates([_compared(kept, column) for column in columns])
    models = dict.fromkeys(entry.model for entry in kept)
    ranked = sorted(models, key=lambda model: -wins.get(model, -1.0))
    return Leaderboard(tuple(ranked), columns, kept, wins)


def in_unlike_phrasings(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, those of one task in different phrasings as different tasks.

    Each then says with which phrasings beside those that all have, or without which.
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
    """Whether a score is known to be on fewer items than another."""
    if other is None or entry.items is None or other.items is None:
        return False
    return entry.items < other.items


def lower_is_better(metric: str) -> bool:
    """Whether a score of that name is an error; a filter's name after a comma does not matter."""
    name = metric.removesuffix(PARTIAL).partition(",")[0]
    return any(part in _LOWER for part in name.replace("[", "_").split("_")) or name in _LOWER


def _compared(entries: Sequence[Entry], column: tuple[str, str]) -> Compared:
    of = [entry for entry in entries if entry.column == column]
    return Compared({entry.model: entry.value for entry in of}, of[0].higher_is_better)
