"""Results in a notebook cell: scores of a run or a suite, trials of a sweep."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rich.text import Text

from brulee.reporting import sweep_text, terminal
from brulee.reporting.results import Results
from brulee.reporting.sweep_results import Sweep
from brulee.reporting.tables import TableRows
from brulee.reporting.verdict import verdict


def html(results: Results, report: Path) -> str:
    """A run as plain HTML in the notebook's own style; values from data or models are escaped."""
    said = escape(results.verdict or verdict(results))
    tables = "".join(_table(rows) for rows in terminal.tables(results) if rows.rows)
    cost = escape(terminal.cost(results))
    link = f"Report: <code>{escape(str(report))}</code>"
    return f"<div><p><b>{said}</b></p>{tables}<p>{cost}</p><p>{link}</p></div>"


def sweep_html(found: Sweep, page: Path) -> str:
    """A sweep in the same style: the verdict, caveats, the trials, the test rows."""
    first, *others = sweep_text.verdict(found)
    listed = "".join(f"<li>{escape(clause)}</li>" for clause in others)
    tables = (sweep_text.trials(found), sweep_text.test(found))
    shown = "".join(_table(rows) for rows in tables if rows.rows)
    link = f"Report: <code>{escape(str(page))}</code>"
    return f"<div><p><b>{escape(first)}.</b></p><ul>{listed}</ul>{shown}<p>{link}</p></div>"


def suite_html(of: str, scores: TableRows) -> str:
    """A suite's scores in the same style, under the name of the model."""
    return f"<div><p><b>{escape(of)}</b></p>{_table(scores)}</div>"


def _table(rows: TableRows) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in rows.heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows.rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: str | Text) -> str:
    return f"<td>{escape(cell.plain if isinstance(cell, Text) else cell)}</td>"
