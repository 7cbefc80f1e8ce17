"""HELM's table on a terminal and as an HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from brulee.reporting.helm_table import Cell, HelmTable, columns_of
from brulee.reporting.page_style import STYLE
from brulee.reporting.page_tables import table as page_table
from brulee.reporting.tables import parts

_DASH: Final = "–"
_SCORES: Final = "HELM: scores ± half the 95% interval"
_PARTIAL: Final = "* the mean of only some parts of the scenario"
_WINS: Final = "Mean win rate over scenarios"
_SPEED: Final = "Efficiency"
# Heading -> (key in results.json, formatter).
_SPEEDS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "read, tokens/s": ("prefill_tokens_per_second", lambda v: f"{v:,.0f}"),
    "written, tokens/s": ("decode_tokens_per_second", lambda v: f"{v:,.0f}"),
    "prefill": ("prefill_seconds", lambda v: f"{v:.2f} s"),
    "decode": ("decode_seconds", lambda v: f"{v:.2f} s"),
    "peak memory": ("peak_memory_bytes", lambda v: f"{v / 2**30:.2f} GiB"),
}
_Grid = tuple[str, list[str], list[list[str]]]
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def terminal(found: HelmTable, width: int) -> list[Table | Text]:
    """The tables for a terminal of `width` columns; one that is too wide continues below."""
    tables: list[Table | Text] = []
    for title, heads, rows in _grids(found):
        naming = 1 + ("model" in heads[1:])
        for part in parts(heads, rows, width, title, naming):
            tables += [part, Text()]
    return [*tables[:-1], *map(Text, _notes(found))]


def page(found: HelmTable) -> str:
    """The self-contained page as text."""
    parts = [page_table(title, heads, _escaped(rows)) for title, heads, rows in _grids(found)]
    parts[0] += "".join(f'<p class="note">{escape(note)}</p>' for note in _notes(found))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>HELM · brulee</title><style>{STYLE}</style></head>'
        f"<body><main><h2>HELM</h2>{''.join(f'<section>{part}</section>' for part in parts)}"
        "</main></body></html>\n"
    )


def write_page(found: HelmTable, file: Path) -> Path:
    """Write the page; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(found), encoding="utf-8")
    return file


def _grids(found: HelmTable) -> list[_Grid]:
    """The tables as text: scores, then win rates and speeds if there are any."""
    grids = [_scores(found)]
    if found.wins:
        grids.append(_wins(found))
    if found.efficiency:
        grids.append(_speeds(found))
    return grids


def _notes(found: HelmTable) -> list[str]:
    partial = any(cell.partial for line in found.lines for cell in line.cells.values())
    return [_PARTIAL] if partial else []


def _scores(found: HelmTable) -> _Grid:
    heads = columns_of(line.cells for line in found.lines)
    several = len(found.models) > 1
    rows = [
        [
            line.scenario,
            *([line.model] if several else []),
            *(_score(line.cells.get(heading)) for heading in heads),
        ]
        for line in found.lines
    ]
    return _SCORES, ["scenario", *(["model"] if several else []), *heads], rows


def _wins(found: HelmTable) -> _Grid:
    wins = found.wins
    heads = columns_of(wins.values())
    rows = [
        [model, *(f"{rates[h]:.2f}" if h in rates else _DASH for h in heads)]
        for model, rates in wins.items()
    ]
    return _WINS, ["model", *heads], rows


def _speeds(found: HelmTable) -> _Grid:
    rows = [
        [model, *(shown(speeds[key]) for key, shown in _SPEEDS.values())]
        for model, speeds in found.efficiency.items()
    ]
    return _SPEED, ["model", *_SPEEDS], rows


def _score(cell: Cell | None) -> str:
    if cell is None:
        return _DASH
    star = "*" if cell.partial else ""
    if cell.low is None or cell.high is None:
        return f"{cell.value:.3f}{star}"
    return f"{cell.value:.3f} ±{(cell.high - cell.low) / 2:.3f}{star}"


def _escaped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in rows]
