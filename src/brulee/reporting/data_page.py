"""The data page: what the model will see of a recipe's data, as one self-contained HTML file."""

from __future__ import annotations

import os
from functools import partial
from html import escape
from pathlib import Path

from brulee.data.inspection import Inspection
from brulee.reporting import wording
from brulee.reporting.data_headline import clauses, headline
from brulee.reporting.data_page_chart import histogram
from brulee.reporting.data_page_rows import rendered_rows
from brulee.reporting.data_page_style import STYLE as DATA_STYLE
from brulee.reporting.data_page_tables import (
    batches,
    labels,
    mix,
    splits,
    spreads,
    task_list,
    truncation,
)
from brulee.reporting.page_style import STYLE
from brulee.reporting.page_tables import both_widths

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_HALF = 400
_ALARM = ' class="alarm"'


def write_data_page(found: Inspection, file: Path) -> Path:
    """Write the page atomically and return its path; its folder must exist."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(render(found), encoding="utf-8")
    temporary.replace(file)
    return file


def render(found: Inspection) -> str:
    """The whole page as text; every value from the data is escaped."""
    sections = (
        _figures(found),
        _lengths(found),
        truncation(found),
        batches(found),
        mix(found),
        splits(found),
        labels(found),
        rendered_rows(found),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(found.name)} · brulee data</title>'
        f"<style>{STYLE}{DATA_STYLE}</style></head><body><main>{_masthead(found)}"
        f"{_verdict(found)}{''.join(sections)}"
        "<footer>Written by brulee data inspect.</footer></main></body></html>\n"
    )


def _masthead(found: Inspection) -> str:
    about = f"{task_list(found.tasks)}, as {found.model} reads them"
    return f'<header class="masthead"><h1>{escape(found.name)}</h1><p>{escape(about)}</p></header>'


def _verdict(found: Inspection) -> str:
    listed = "".join(
        f"<li{_ALARM if clause.alarm else ''}>{escape(clause.text)}</li>"
        for clause in clauses(found)
    )
    return f'<div class="verdict"><p>{escape(headline(found))}.</p><ul>{listed}</ul></div>'


def _figures(found: Inspection) -> str:
    figures = (
        (f"{found.draws:,}", "documents drawn in training"),
        (f"{found.total.p95:,}", "tokens hold 95% of them"),
        (
            wording.percent(found.cut_here.rows_cut / found.measured),
            f"cut at {found.max_length:,} tokens",
        ),
        (wording.percent(found.learned_share), "of the tokens carry loss"),
        (str(len(found.templates)), "templates trained on"),
    )
    rows = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for value, label in figures)
    return f'<dl class="figures">{rows}</dl>'


def _lengths(found: Inspection) -> str:
    total = both_widths(partial(histogram, found.total, "Whole documents", cut=found.max_length))
    beyond = found.total.bin_width * len(found.total.bins) <= found.max_length
    line = (
        f"the cut line, {found.max_length:,}, lies further to the right"
        if beyond
        else f"red: longer than max_length, {found.max_length:,}"
    )
    halves = "".join(
        f"<figure><figcaption>{name}</figcaption>{histogram(of, name, _HALF)}</figure>"
        for name, of in (("Prompt", found.prompt), ("Completion", found.completion))
    )
    return (
        "<section><h2>How long documents are</h2>"
        f"<figure><figcaption>Prompt + completion; {line}</figcaption>{total}</figure>"
        f'<div class="pair">{halves}</div>{spreads(found)}</section>'
    )
