"""An inspection on a terminal, readable at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.console import Console
from rich.text import Text

from brulee.data.inspection import Inspection
from brulee.data.inspection_lengths import Lengths
from brulee.data.inspection_rows import Piece, Shown
from brulee.data.splits import NAMES
from brulee.printable import printable
from brulee.reporting import wording
from brulee.reporting.data_headline import clauses, headline
from brulee.reporting.tables import TableRows

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BARS = 12
_BAR_WIDTH = 40
_TASKS = 20
_LABELS = 8
_SAMPLES = 3
_PREVIEW = 1200


def show(found: Inspection, console: Console, rows: int | None, page: Path | None = None) -> None:
    """Print the inspection with `rows` rows per template; `page` is the full report's path.

    With `rows=None`, shows one row of each of the first tasks.
    """
    console.print()
    console.print(Text(f"{headline(found)}.", style="bold"))
    for clause in clauses(found):
        console.print(Text(f"· {clause.text}", style="bold red" if clause.alarm else ""))
    console.print()
    console.print(_histogram(found))
    # Plain texts are divided, so no max_length cuts anything.
    cuts = [] if all(task.pieces for task in found.tasks) else [_cuts(found)]
    parts = (_spreads(found), *cuts, _mix(found), _splits(found), *_labels(found))
    for table in parts:
        table.show(console)
    _rows(found, console, rows)
    console.print()
    where = f"Page: {page}" if page else "--html FILE writes everything to an HTML page."
    # Paths are for copying, so they never wrap.
    console.print(Text(where, style="" if page else "dim"), soft_wrap=True)


def _histogram(found: Inspection) -> Text:
    """A histogram of whole documents' lengths; bars past max_length are red."""
    bins, width = _merged(found.total)
    most, drawn = max(bins), Text("tokens\n", style="dim")
    cut = found.max_length
    for number, count in enumerate(bins):
        low = number * width
        style = "red" if low >= cut else "cyan"
        label = f"{low:,}-{low + width - 1:,}" if width > 1 else f"{low:,}"
        if number == len(bins) - 1 and found.total.beyond:
            label = f"{low:,}-"
        drawn.append(f"{label:>15} ", style="dim")
        drawn.append("█" * round(_BAR_WIDTH * count / most) or ("▏" if count else ""), style=style)
        drawn.append(f" {count:,}" if count else "")
        drawn.append("\n")
        if low < cut <= low + width:
            drawn.append(f"{'':>15} {'─' * 20} max_length {cut:,}\n", style="red")
    if cut > width * len(bins):
        drawn.append(f"{'':>15} max_length {cut:,} is further\n", style="dim")
    drawn.rstrip()
    return drawn


def _merged(found: Lengths) -> tuple[list[int], int]:
    """Merge the histogram's thirty bins into at most twelve; returns them and their width."""
    step = -(-len(found.bins) // _BARS)
    bins = [sum(found.bins[i : i + step]) for i in range(0, len(found.bins), step)]
    return bins, found.bin_width * step


def _spreads(found: Inspection) -> TableRows:
    table = TableRows(("Tokens", "Mean", "p50", "p95", "Longest", "Spread"))
    named = (("whole", found.total), ("prompt", found.prompt), ("completion", found.completion))
    for name, one in named:
        cells = (f"{one.mean:,.1f}", f"{one.p50:,}", f"{one.p95:,}", f"{one.max:,}")
        table.add(name, *cells, _sparkline(one.bins))
    return table


def _sparkline(bins: Sequence[int]) -> str:
    most = max(bins)
    # A non-empty bin never looks empty.
    return "".join(_BLOCKS[max(bool(n), round(n / most * 8))] for n in bins)


def _cuts(found: Inspection) -> TableRows:
    shots = any(cut.fewer_examples for cut in found.cuts)
    further = ["Fewer examples"] if shots else []
    table = TableRows(
        ("At", *further, "Rows cut", "", "Tokens lost", "Completions cut", "Do not fit")
    )
    for cut in found.cuts:
        here = "bold" if cut.max_length == found.max_length else ""
        share = wording.percent(cut.rows_cut / found.measured)
        few = [f"{cut.fewer_examples:,}"] if shots else []
        cells = (f"{cut.max_length:,}", *few, f"{cut.rows_cut:,}", share, f"{cut.tokens_lost:,}")
        misfits = Text(f"{cut.misfits:,}", style="bold red" if cut.misfits else here)
        table.add(*(Text(c, style=here) for c in cells), f"{cut.completions_cut}", misfits)
    return table


def _mix(found: Inspection) -> TableRows:
    """The mix by task, or by template if there is only one task."""
    if len(found.mix) == 1:
        read = f" of the first {found.measured:,}" if found.measured < found.draws else ""
        table = TableRows((f"Template{read}", "Draws", "Of draws", "Tokens", "Of tokens"))
        for one in found.templates[:_TASKS]:
            drawn, learned = wording.percent(one.share), wording.percent(one.token_share)
            table.add(one.template, f"{one.draws:,}", drawn, f"{one.tokens:,}", learned)
        return _more(table, len(found.templates) - _TASKS)
    table = TableRows(("Task", "Rows", "Epochs", "Draws", "Rate", "Of draws", "Of tokens"))
    # Tasks that need attention come first.
    for one in sorted(found.mix, key=lambda one: not one.odd)[:_TASKS]:
        epochs = Text(f"{one.epochs or 0:,.2f}", style="bold red" if one.odd else "")
        shares = [wording.percent(s) for s in (one.stated or 0, one.share, one.token_share)]
        table.add(one.task, f"{one.rows:,}", epochs, f"{one.draws:,}", *shares)
    return _more(table, len(found.mix) - _TASKS)


def _splits(found: Inspection) -> TableRows:
    heads = ("Train", "Valid.", "Test", "Duplicates", "Near-dup.", "In two splits", "Dropped")
    table = TableRows(("Task", *heads))
    for task in sorted(found.tasks, key=lambda task: not task.leaks)[:_TASKS]:
        inputs = sum(o.rows for o in task.texts.leakage.overlaps if o.kind == "input")
        leaks = Text(f"{inputs:,}", style="bold red" if inputs else "")
        name = f"{task.path} (held out)" if task.held_out else task.path
        counts = [f"{task.counts[split]:,}" for split in NAMES]
        repeats = f"{task.duplicates:,}", f"{task.near_duplicates:,}"
        table.add(name, *counts, *repeats, leaks, f"{sum(task.dropped.values()):,}")
    return _more(table, len(found.tasks) - _TASKS)


def _labels(found: Inspection) -> list[TableRows]:
    shown = []
    for task in found.tasks[:5]:
        if task.texts.labels is None:
            continue
        counts = task.texts.labels.counts
        first = next(iter(counts))
        ranked = sorted(counts[first], key=lambda label: -counts[first][label])
        table = TableRows((f"{task.path}: {len(ranked)} labels", *(name for name in counts)))
        # Of many labels, show only the most and the least frequent.
        half = _LABELS // 2
        brief = ranked if len(ranked) <= _LABELS + 2 else [*ranked[:half], "", *ranked[-half:]]
        for label in brief:
            cells = [
                f"{of[label]:,} {wording.percent(of[label] / max(1, sum(of.values()))):>4}"
                if label in of
                else ""
                for of in counts.values()
            ]
            table.add(label or "...", *cells)
        shown.append(table)
    return shown


def _rows(found: Inspection, console: Console, rows: int | None) -> None:
    for row in _chosen(found.rows, rows):
        console.print()
        held = ", held out for the test" if row.held_out else ""
        title = f"{row.place}, {row.task}/{row.template}{held}"
        console.print(Text(title, style="bold"), soft_wrap=True)
        console.print(_document(row))


def _chosen(shown: Sequence[Shown], rows: int | None) -> list[Shown]:
    """The first `rows` of each template; if None, one of each of the first tasks."""
    key = attrgetter("task") if rows is None else attrgetter("task", "template")
    groups = [list(group) for _, group in groupby(shown, key)]
    if rows is None:
        return [group[0] for group in groups[:_SAMPLES]]
    return [row for group in groups for row in group[:rows]]


def _document(row: Shown) -> Text:
    if row.problem:
        return Text(printable(row.problem), style="red")
    counts = f"{row.tokens:,} tokens, {row.learned:,} learned"
    cut = f", cut by {row.cut:,}" if row.cut else ""
    differs = "" if row.same else "; the prompt's tokens differ at inference"
    drawn = Text()
    for piece in _preview(row):
        style = "green" if piece.learned else ""
        text = printable(piece.text)
        text = text.replace("\n", "↵\n") if piece.special else text
        drawn.append(text, style=f"{style} reverse dim" if piece.special else style)
    drawn.rstrip()
    drawn.append(f"\n{counts}{cut}{differs}", style="dim")
    return drawn


def _preview(row: Shown) -> list[Piece]:
    """The document, without the middle of a long prompt."""
    length = sum(len(piece.text) for piece in row.pieces)
    if length <= _PREVIEW:
        return list(row.pieces)
    head, size = 0, 0
    while size < _PREVIEW // 2 and head < len(row.pieces):
        size += len(row.pieces[head].text)
        head += 1
    tail, size = len(row.pieces), 0
    while size < _PREVIEW // 2 and tail > head:
        tail -= 1
        size += len(row.pieces[tail].text)
    gap = Piece(f" [... {tail - head:,} tokens ...] ", (), False, False)
    return [*row.pieces[:head], *([gap] if tail > head else []), *row.pieces[tail:]]


def _more(table: TableRows, left: int) -> TableRows:
    if left > 0:
        table.add(f"... and {left:,} more")
    return table
