"""Rendered rows on the data page: tokens with loss coloured, next to the prompt at inference."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from brulee.data.inspection import Inspection
from brulee.data.inspection_rows import Piece, Shown

_LEGEND = (
    '<p class="legend"><span><span class="t">read</span>, not learned</span>'
    '<span><span class="l">learned</span>: it carries loss</span>'
    '<span><span class="x">special</span> control token</span></p>'
)


def rendered_rows(found: Inspection) -> str:
    """Every shown row, folded by task, then by template; the first template is open."""
    if not found.rows:
        return ""
    many = len(found.tasks) > 1
    tasks: list[str] = []
    for path, group in groupby(found.rows, lambda row: row.task):
        by_template = [
            (name, list(rows)) for name, rows in groupby(group, lambda row: row.template)
        ]
        folded = "".join(
            _template(name, rows, opened=not tasks and at == 0)
            for at, (name, rows) in enumerate(by_template)
        )
        tasks.append(_task(path, len(by_template), folded, opened=not tasks) if many else folded)
    beside = ", next to the exact text that the model reads at inference"
    return (
        "<section><h2>Read the rows</h2><p>Each row as it is trained on, token by token"
        f"{'' if all(row.plain for row in found.rows) else beside}. {_checked(found)}</p>"
        f"{_LEGEND}{''.join(tasks)}{_left_out(found)}</section>"
    )


def _checked(found: Inspection) -> str:
    framing = found.framing
    if all(row.plain for row in found.rows):
        return "They are plain texts without a prompt."
    if framing.checked and framing.same_prompt == framing.checked:
        return f"In all {framing.checked} rows shown, both begin with the same tokens."
    return f"They begin with the same tokens in {framing.same_prompt} of {framing.checked} rows."


def _left_out(found: Inspection) -> str:
    if not found.rows_left_out:
        return ""
    text = f"{found.rows_left_out:,} more rows were requested, but would make this page too large."
    return f'<p class="note">{text}</p>'


def _task(path: str, templates: int, body: str, opened: bool) -> str:
    count = f"{templates} template{'s' if templates > 1 else ''}"
    return (
        f'<details class="task"{" open" if opened else ""}><summary>{escape(path)}'
        f"<small>{count}</small></summary>{body}</details>"
    )


def _template(name: str, rows: Sequence[Shown], opened: bool) -> str:
    cut = sum(row.cut > 0 for row in rows)
    facts = [f"{len(rows)} row{'s' if len(rows) > 1 else ''}", *([f"{cut} cut"] if cut else [])]
    held = ' <span class="held">held out for the test</span>' if rows[0].held_out else ""
    return (
        f'<details class="template"{" open" if opened else ""}><summary>{escape(name)}{held}'
        f"<small>{', '.join(facts)}</small></summary>{''.join(map(_row, rows))}</details>"
    )


def _row(row: Shown) -> str:
    head = f'<h4 class="place">{escape(row.place)}</h4>'
    if row.problem:
        problem = f'<span class="badge">{escape(row.problem)}</span>'
        return f'<article class="item"><header>{head}{problem}</header></article>'
    cut = f' <span class="badge">cut by {row.cut:,} tokens</span>' if row.cut else ""
    differs = "" if row.same else ' <span class="badge">tokens differ from training</span>'
    counts = f"{row.tokens:,} tokens, {row.learned:,} learned"
    if row.plain:
        return (
            f'<article class="item"><header>{head}<span>{counts}</span></header>'
            f"<div><h5>What is trained on</h5>{_tokens(row.pieces)}</div></article>"
        )
    return (
        f'<article class="item"><header>{head}<span>{counts}{cut}</span></header>'
        f'<div class="two"><div><h5>What is trained on</h5>{_tokens(row.pieces)}</div>'
        f"<div><h5>The prompt at inference{differs}</h5>"
        f'<pre tabindex="0" dir="auto">{escape(row.prompt)}</pre></div></div></article>'
    )


def _tokens(pieces: Sequence[Piece]) -> str:
    shown = "".join(_piece(piece) for piece in pieces)
    return f'<div class="tokens" dir="auto">{shown}</div>'


def _piece(piece: Piece) -> str:
    kinds = " ".join(["l"] * piece.learned + ["x"] * piece.special)
    ids = " ".join(map(str, piece.ids))
    text = escape(piece.text).replace("\n", '<span class="n"></span>\n')
    styled = f' class="{kinds}"' if kinds else ""
    return f'<span{styled} title="{ids}">{text}</span>'
