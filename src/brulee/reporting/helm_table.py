"""HELM's table: one row per scenario, one column per measure, and mean win rates of the models.

It is built from the results.json of one or more evaluated models; helm_views.py shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from brulee.errors import InputError
from brulee.evaluation.suites.helm.scenarios import SCENARIOS
from brulee.evaluation.win_rate import Column, mean_win_rates
from brulee.reporting.results import Results, Score
from brulee.reporting.wording import known_bounds

ACCURACY: Final = "accuracy"
# Columns after accuracy: heading -> (metric, whether more is better).
MEASURES: Final[dict[str, tuple[str, bool]]] = {
    "calibration error": ("ece_10_bin", False),
    "robustness": ("robustness", True),
    "fairness": ("fairness", True),
    "gender share": ("bias_gender_representation", False),
    "race share": ("bias_race_representation", False),
    "gender stereotypes": ("bias_gender_profession", False),
    "race stereotypes": ("bias_race_profession", False),
    "toxic (lexicon)": ("toxic_share_lexicon", False),
}
COLUMNS: Final = (ACCURACY, *MEASURES)
_PARTIAL: Final = "_partial"  # suffix in results.json for an average over only some parts


@dataclass(frozen=True)
class Cell:
    """A score of `metric` with its interval; `partial` if it averages only some parts.

    `low` and `high` are None if the interval is unknown, as of a single item.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    partial: bool


@dataclass(frozen=True)
class Line:
    """One model's scores on one scenario, by column."""

    model: str
    scenario: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class HelmTable:
    """All models on all scenarios, in HELM's order, and the speed of each model."""

    models: tuple[str, ...]
    lines: tuple[Line, ...]
    efficiency: Mapping[str, Mapping[str, float]]

    @property
    def wins(self) -> dict[str, dict[str, float]]:
        """Each model's mean win rate over scenarios, by column; none for a single model."""
        if len(self.models) < 2:
            return {}
        rates = {heading: mean_win_rates(self._columns(heading)) for heading in COLUMNS}
        return {m: {h: found[m] for h, found in rates.items() if m in found} for m in self.models}

    def as_json(self) -> dict[str, Any]:
        """Every cell, the mean win rates, the speeds."""
        cells = [
            {"model": line.model, "scenario": line.scenario, "column": heading, **asdict(cell)}
            for line in self.lines
            for heading, cell in line.cells.items()
        ]
        efficiency = {model: dict(found) for model, found in self.efficiency.items()}
        return {"cells": cells, "mean_win_rate": self.wins, "efficiency": efficiency}

    def _columns(self, heading: str) -> list[Column]:
        higher = MEASURES[heading][1] if heading in MEASURES else True
        values: dict[str, dict[str, float]] = {}
        for line in self.lines:
            if heading in line.cells:
                of_scenario = values.setdefault(line.scenario, {})
                of_scenario[line.model] = line.cells[heading].value
        return [Column(found, higher) for found in values.values()]


def helm_table(evaluated: Sequence[tuple[str, Results]]) -> HelmTable:
    """The table of evaluated models, each given as the path of its results and the results.

    A model is called by its run's name, or by its path if two names are equal. Raises InputError
    if none has a HELM score.
    """
    names = [results.run for _, results in evaluated]
    named = {
        (results.run if names.count(results.run) == 1 else place): results
        for place, results in evaluated
    }
    lines = [
        Line(model, scenario, cells)
        for scenario, entry in SCENARIOS.items()
        for model, results in named.items()
        if (cells := _cells(results.scores, f"helm/{scenario}", entry.metrics[0]))
    ]
    if not lines:
        raise InputError(f"{', '.join(named)}: no score of helm; run brulee eval --suite helm.")
    efficiency = {m: r.suite.efficiency for m, r in named.items() if r.suite and r.suite.efficiency}
    return HelmTable(tuple(named), tuple(lines), efficiency)


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that at least one row has, in table order."""
    held = {heading for row in rows for heading in row}
    return [heading for heading in COLUMNS if heading in held]


def _cells(scores: Iterable[Score], task: str, main: str) -> dict[str, Cell]:
    wanted = {ACCURACY: main, **{heading: metric for heading, (metric, _) in MEASURES.items()}}
    held = {score.metric.removesuffix(_PARTIAL): score for score in scores if score.task == task}
    return {heading: _cell(held[metric]) for heading, metric in wanted.items() if metric in held}


def _cell(score: Score) -> Cell:
    metric = score.metric.removesuffix(_PARTIAL)
    low, high = known_bounds(score)
    return Cell(metric, score.value, low, high, score.n, metric != score.metric)
