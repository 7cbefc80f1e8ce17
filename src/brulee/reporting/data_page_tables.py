"""The tables of the data page: cuts, batches, the mix, the splits, labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from brulee.data.inspection import Inspection, TaskFacts
from brulee.data.inspection_mix import Mix
from brulee.data.inspection_texts import Labels
from brulee.data.leakage import Kind, Overlap
from brulee.data.splits import NAMES
from brulee.reporting import wording
from brulee.reporting.page_tables import table

_LABELS_SHOWN = 15
_KINDS: dict[Kind, str] = {
    "input": "Input",
    "near-duplicate": "Near-duplicate input",
    "pair": "Input and target",
    "target": "Target",
}
_ROWS_SHOWN = 40


def spreads(found: Inspection) -> str:
    """Mean, median, p95 and maximum length of the prompt, the completion and both."""
    named = (("Whole", found.total), ("Prompt", found.prompt), ("Completion", found.completion))
    rows = [
        [name, f"{one.mean:,.1f}", f"{one.p50:,}", f"{one.p95:,}", f"{one.max:,}", f"{one.total:,}"]
        for name, one in named
    ]
    heads = ("Tokens", "Mean", "p50", "p95", "Longest", "Total")
    return table(f"The first {found.measured:,} training draws", heads, rows)


def truncation(found: Inspection) -> str:
    """What each max_length would cut; completions are never cut, plain texts are divided."""
    if all(task.pieces for task in found.tasks):
        return ""
    rows = []
    shots = any(cut.fewer_examples for cut in found.cuts)
    for cut in found.cuts:
        here = "<small>max_length</small>" if cut.max_length == found.max_length else ""
        share = wording.percent(cut.rows_cut / found.measured)
        lost = wording.percent(cut.tokens_lost / found.total.total)
        rows.append(
            [
                f"{cut.max_length:,}{here}",
                *([f"{cut.fewer_examples:,}"] if shots else []),
                f"{cut.rows_cut:,}<small>{share}</small>",
                f"{cut.tokens_lost:,}<small>{lost}</small>",
                f"{cut.completions_cut}",
                _counted(cut.misfits, odd=cut.misfits > 0),
            ]
        )
    heads = (
        "At",
        *(["Fewer examples"] if shots else []),
        "Rows cut",
        "Tokens lost",
        "Completions cut",
        "Do not fit",
    )
    return (
        "<section><h2>What a length would cut</h2><p>A row that is too long loses examples, then "
        "the end of its longest source column; never its instruction or its completion. A row that "
        "still does not fit takes another template, or is left out.</p>"
        f"{table('Cut lengths in tokens', heads, rows)}</section>"
    )


def batches(found: Inspection) -> str:
    """How full batches are, packed and padded."""
    packing = found.packing
    facts = [
        ("Tokens with loss", wording.percent(found.learned_share)),
        ("Padding when packed", "0%"),
        (f"Passes of {packing.token_budget:,} tokens", f"{packing.passes:,}"),
        ("Average fill of a pass", wording.percent(packing.filled)),
        (f"Padded batches of {packing.batch_size}", f"{packing.padded_batches:,}"),
        ("Padding in padded batches", wording.percent(packing.padding)),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        "<section><h2>How full batches are</h2><p>Packing puts documents end to end, so a pass "
        "has no padding; a padded batch fills every document up to its longest.</p>"
        f'<dl class="facts">{listed}</dl></section>'
    )


def mix(found: Inspection) -> str:
    """What training draws from each task, then from each template."""
    # Tasks that need attention come first.
    ranked = sorted(found.mix, key=lambda one: not one.odd)
    rows = [_task_row(one, found) for one in ranked]
    heads = ("Task", "Rows in use", "Epochs", "Draws", "Rate", "Of draws", "Of tokens")
    tasks = _folded(f"{found.draws:,} draws by task", heads, rows, _ROWS_SHOWN)
    many = len(found.mix) > 1
    named = [
        [
            escape(f"{one.task}/{one.template}" if many else one.template),
            _counted(one.draws, odd=not one.draws),
            wording.percent(one.share),
            f"{one.tokens:,}",
            wording.percent(one.token_share),
        ]
        for one in found.templates
    ]
    columns = ("Template", "Draws", "Of draws", "Tokens", "Of tokens")
    caption = f"The first {found.measured:,} draws by template"
    templates = _folded(caption, columns, named, _ROWS_SHOWN)
    return f"<section><h2>What training draws</h2>{tasks}{templates}</section>"


def splits(found: Inspection) -> str:
    """The rows of each split, the rows left out, and overlaps between splits."""
    rows = []
    for task in found.tasks:
        left = [f"{count:,} {escape(reason)}" for reason, count in task.dropped.items()]
        notes = [*([f"held out: {escape(task.held_out)}"] if task.held_out else []), *left]
        rows.append(
            [
                f"{escape(task.path)}<small>{escape(task.source)}</small>",
                *(f"{task.counts[name]:,}" for name in NAMES),
                f"{task.duplicates:,}",
                f"{task.near_duplicates:,}",
                f'<td class="words">{"; ".join(notes) or "nothing else left out"}</td>',
            ]
        )
    heads = ("Task", "Train", "Validation", "Test", "Duplicates", "Near-duplicates", "Notes")
    counted = _folded("Rows by split; duplicates are left out", heads, rows, _ROWS_SHOWN)
    return f"<section><h2>Where the rows went</h2>{counted}{_leaks(found)}</section>"


def labels(found: Inspection) -> str:
    """Label counts per split for each task that has labels."""
    shown = [_labels(task, task.texts.labels) for task in found.tasks if task.texts.labels]
    if not shown:
        return ""
    body = "".join(shown[:_ROWS_SHOWN])
    return f"<section><h2>How labels are distributed</h2>{body}</section>"


def _task_row(one: Mix, found: Inspection) -> list[str]:
    epochs = "" if one.epochs is None else f"{one.epochs:,.2f}"
    odd = len(found.mix) > 1 and one.odd
    of = f"<small>of {one.of_rows:,}</small>" if one.of_rows != one.rows else ""
    return [
        escape(one.task),
        f"{one.rows:,}{of}",
        f'<td class="odd">{epochs}</td>' if odd else epochs,
        f"{one.draws:,}",
        wording.percent(one.stated or 0),
        wording.percent(one.share),
        wording.percent(one.token_share),
    ]


def _leaks(found: Inspection) -> str:
    rows = []
    for task in sorted(found.tasks, key=lambda task: not task.leaks):
        pairs = dict.fromkeys((o.first, o.second) for o in task.texts.leakage.overlaps)
        for first, second in pairs:
            by_kind = [task.texts.leakage.overlap(kind, first, second) for kind in _KINDS]
            named = f"{escape(task.path)}<small>{first}, {second}</small>"
            rows.append([named, *map(_overlap, by_kind)])
    if not rows:
        return ""
    said = [
        f"<li>{escape(sentence)}</li>"
        for task in found.tasks
        for severity, sentence in task.texts.leaks
        if severity in ("error", "warning")
    ]
    listed = f'<ul class="said">{"".join(said[:_ROWS_SHOWN])}</ul>' if said else ""
    heads = ("Splits", *_KINDS.values())
    return _folded("Overlap between splits", heads, rows, _ROWS_SHOWN) + listed


def _overlap(found: Overlap) -> str:
    text = f"{found.rows:,}<small>{wording.percent(found.share)}</small>" if found.rows else "0"
    return f'<td class="odd">{text}</td>' if found.severity == "error" else text


def _labels(task: TaskFacts, found: Labels | None) -> str:
    assert found is not None, "asked for tasks with labels only"
    totals = {name: max(1, sum(counts.values())) for name, counts in found.counts.items()}
    first = next(iter(found.counts))
    ranked = sorted(found.counts[first], key=lambda label: -found.counts[first][label])
    most = found.counts[first][ranked[0]] / totals[first]
    rows = [
        [
            f"{escape(label) or '<i>empty</i>'}",
            _bar(found.counts[first][label] / totals[first], most),
            *(
                f"{counts[label]:,}<small>{wording.percent(counts[label] / totals[name])}</small>"
                for name, counts in found.counts.items()
            ),
        ]
        for label in ranked
    ]
    heads = ("Label", "", *(name.capitalize() for name in found.counts))
    unused = ", ".join(found.unused[:10]) + (" ..." if len(found.unused) > 10 else "")
    note = f'<p class="note">No row has: {escape(unused)}.</p>' if unused else ""
    return _folded(f"{task.path}: {len(ranked)} labels", heads, rows, _LABELS_SHOWN) + note


def _folded(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    """A table whose rows after the first `most` are folded."""
    if len(rows) <= most + 5:
        return table(caption, heads, rows)
    rest = table(f"{caption}, continued", heads, rows[most:])
    return (
        f"{table(caption, heads, rows[:most])}"
        f"<details><summary>Show the other {len(rows) - most:,}</summary>{rest}</details>"
    )


def _bar(share: float, most: float) -> str:
    width = 100 * share / most if most else 0.0
    return f'<td class="bars"><span class="share" style="width:{width:.1f}%"></span></td>'


def _counted(count: int, odd: bool) -> str:
    return f'<td class="odd">{count:,}</td>' if odd else f"{count:,}"


def task_list(tasks: Iterable[TaskFacts]) -> str:
    """The sources and templates of the tasks, for the masthead."""
    named = list(tasks)
    if len(named) > 1:
        return f"{len(named)} tasks"
    count = len(named[0].templates)
    return f"{named[0].source}, {count} template{'s' if count > 1 else ''}"
