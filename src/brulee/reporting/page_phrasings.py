"""The part of the report page on phrasings: the spread of their scores, before and after."""

from __future__ import annotations

from functools import partial
from html import escape

from brulee.reporting import phrasings, wording
from brulee.reporting.page_tables import both_widths, number, sentence, table
from brulee.reporting.phrasing_chart import phrasing_chart
from brulee.reporting.results import Phrasings, Results

_KEY = (
    '<span class="key"><i class="base"></i>before</span>'
    '<span class="key"><i></i>after</span>one dot per phrasing; the band spans the quartiles'
)


def over_phrasings(results: Results) -> str:
    """Dot plots of each task's first score, then a table of all scores; "" without phrasings."""
    if not results.phrasings:
        return ""
    figures = "".join(map(_figure, phrasings.firsts(results)))
    rows = [
        [_name(task, what), *(number(cell) for cell in cells)]
        for task, what, cells in phrasings.rows(results)
    ]
    heads = ("Score", *phrasings.HEADS)
    shown = table("Scores over phrasings", heads, rows)
    each = "".join(map(_each, phrasings.firsts(results)))
    return (
        "<section><h2>How much the phrasing matters</h2>"
        "<p>Every item of these tasks was asked in each phrasing; the scores above are means over "
        "phrasings. The spread is the standard deviation over phrasings, minus what the chance of "
        "few items adds to it. Its interval and p allow for the choice of items, not of "
        "phrasings; a change counts if the two agree.</p>"
        f"{figures}{shown}{each}</section>"
    )


def _name(task: str, what: str) -> str:
    return f"{escape(task)}<small>{escape(what)}</small>" if task else escape(what)


def _figure(one: Phrasings) -> str:
    name = escape(f"{one.task}: {wording.metric_name(one.metric)}")
    chart = both_widths(partial(phrasing_chart, one))
    clause = phrasings.clause(one)
    said = sentence(f"{clause[:1].upper()}{clause[1:]}.")
    return f"<h3>{name}</h3><p>{said}</p><figure><figcaption>{_KEY}</figcaption>{chart}</figure>"


def _each(one: Phrasings) -> str:
    """Every phrasing's score, sorted by the score after, best first."""
    sign = -1 if one.higher_is_better else 1
    found = zip(one.names, one.base.scores, one.tuned.scores, strict=True)
    rows = [
        [
            escape(name),
            number(wording.fixed(before)),
            number(wording.fixed(after)),
            number(wording.signed(after - before)),
        ]
        for name, before, after in sorted(found, key=lambda each: sign * each[2])
    ]
    heads = ("Phrasing", "Before", "After", "Difference")
    name = f"{wording.metric_name(one.metric)} on {one.task}, phrasing by phrasing"
    return f"<details><summary>{escape(name)}</summary>{table(name, heads, rows)}</details>"
