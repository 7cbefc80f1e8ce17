"""A leaderboard as one self-contained page with sortable columns."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from brulee.reporting.leaderboard import Entry, Leaderboard
from brulee.reporting.leaderboard_text import DASH, notes
from brulee.reporting.page_style import STYLE
from brulee.reporting.page_tables import number
from brulee.reporting.wording import metric_name

_STYLE: Final = """
main.board { max-width: 76rem; }
.board h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
.board td, .board thead th { white-space: nowrap; }
.board thead th { vertical-align: bottom; }
.board th button { all: unset; cursor: pointer; display: block; width: 100%; }
.board th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.board th button span::after { content: " \\2195"; color: var(--faint); }
.board th[aria-sort=descending] button span::after { content: " \\2193"; color: var(--accent); }
.board th[aria-sort=ascending] button span::after { content: " \\2191"; color: var(--accent); }
.board thead small { display: block; margin: 0; font-weight: 400; }
.board section { margin-top: 2rem; }
.board tbody th { position: sticky; left: 0; background: var(--paper); max-width: 16rem;
  white-space: normal; overflow-wrap: anywhere; min-width: 10rem; z-index: 1; }
.board td b { font-weight: inherit; } .board td.best b { font-weight: 700; }
.board td.near b { background: var(--mark); padding: .125rem .25rem;
  border-radius: .1875rem; margin-right: -.25rem; }
.board td .bar { display: block; position: relative; height: .25rem; margin-top: .375rem;
  min-width: 5rem; background: var(--panel); border-radius: .125rem; }
.board td .bar i { position: absolute; top: 0; bottom: 0; background: var(--base);
  border-radius: .125rem; min-width: 2px; }
.board td.best .bar i { background: var(--accent); }
/* On a phone a model is a block with a line for each score, and the headings are what sorts. */
@media (max-width: 40rem) {
  .board table, .board caption, .board thead, .board tbody, .board tr, .board tbody th {
    display: block; }
  .board thead tr { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
  .board thead th { padding: .25rem 0; border: 0; }
  .board thead th, .board td { white-space: normal; text-align: left; }
  .board tbody th { position: static; max-width: none; padding: 1.25rem 0 .25rem; font-weight: 700;
    border-top: 1px solid var(--rule); border-bottom: 0; }
  .board td { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .5rem;
    padding: .375rem 0; border: 0; }
  .board td::before { content: attr(data-name); flex: 1; color: var(--soft); }
  .board td small { display: inline; margin: 0; }
  .board td .bar { flex: 0 0 100%; }
}
"""
# Rows sort by a cell's data-value; cells without one stay last in either direction.
_SCRIPT: Final = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), row = head.parentNode, table = head.closest("table");
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const at = [...row.children].indexOf(head), body = table.tBodies[0];
    const key = (line) => line.children[at].dataset.value;
    const sorted = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    body.append(...sorted);
  });
}
"""


def write_page(found: Leaderboard, file: Path) -> Path:
    """Write the page; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(found), encoding="utf-8")
    return file


def page(found: Leaderboard) -> str:
    """The page as text; every name is escaped, and only its own script may run."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    said = "".join(f"<p>{number(note)}</p>" for note in _notes(found))
    files = "".join(
        f"<li>{escape(name)}</li>" for name in dict.fromkeys(e.source for e in found.entries)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; img-src data:">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><title>Leaderboard · brulee</title>'
        f'<style>{STYLE}{_STYLE}</style></head><body><main class="board">'
        f"<h1>Leaderboard</h1>{said}{_table(found)}"
        f"<details><summary>Where the numbers come from</summary><ul>{files}</ul></details>"
        f"</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _notes(found: Leaderboard) -> list[str]:
    first, *others = notes(found)
    del first  # only the terminal marks the leader this way
    return [
        "± is half the 95% interval. Bold marks the best score of a column, a tint those whose "
        "interval includes it. Click a heading to sort.",
        *others,
    ]


def _table(found: Leaderboard) -> str:
    heads = [_head("Model", ""), *(_head(t, metric_name(m)) for t, m in found.columns)]
    if found.wins:
        heads.append(_head("Mean win rate", ""))
    rows = "".join(_row(found, model) for model in found.models)
    return (
        '<section><div class="scroll" role="region" aria-label="Scores" tabindex="0"><table>'
        f"<caption>{len(found.models)} models, {len(found.columns)} scores</caption>"
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _head(name: str, below: str) -> str:
    small = f"<small>{escape(below)}</small>" if below else ""
    return f'<th scope="col"><button type="button"><span>{escape(name)}</span>{small}</button></th>'


def _row(found: Leaderboard, model: str) -> str:
    cells = "".join(_cell(found, found.entry(model, column), column) for column in found.columns)
    if found.wins:
        rate = found.wins.get(model)
        name = 'data-name="Mean win rate"'
        cells += (
            f"<td {name}>{DASH}</td>"
            if rate is None
            else f'<td {name} data-value="{rate}">{rate:.2f}</td>'
        )
    return f'<tr><th scope="row" data-value="{escape(model)}">{escape(model)}</th>{cells}</tr>'


def _cell(found: Leaderboard, entry: Entry | None, column: tuple[str, str]) -> str:
    task, metric = column
    name = f'data-name="{escape(f"{task} {metric_name(metric)}")}"'
    if entry is None:
        return f"<td {name}>{DASH}</td>"
    best = found.best(entry.column)
    kind = "best" if entry is best else "near" if found.near_best(entry) else ""
    star = "*" if entry.partial else ""
    half = ""
    if entry.low is not None and entry.high is not None:
        half = f"<small>±{(entry.high - entry.low) / 2:.3f}</small>"
    value = f"<b>{number(f'{entry.value:.3f}')}</b>{star}{half}"
    return f'<td class="{kind}" {name} data-value="{entry.value}">{value}{_bar(entry)}</td>'


def _bar(entry: Entry) -> str:
    """The interval as a bar on a scale from 0 to 1; "" for a score off that scale."""
    bounds: Sequence[float | None] = (entry.low, entry.high)
    if not all(bound is not None and 0 <= bound <= 1 for bound in bounds):
        return ""
    low, high = (float(bound or 0.0) for bound in bounds)
    return f'<span class="bar"><i style="left:{low:.1%};width:{high - low:.1%}"></i></span>'
