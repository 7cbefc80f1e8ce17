"""A run's results on a terminal: the verdict, the scores, the guards, the cost."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from brulee.errors import InputError
from brulee.printable import printable
from brulee.reporting import phrasings, wording
from brulee.reporting.results import Comparison, Paired, Results, Who
from brulee.reporting.tables import TableRows
from brulee.reporting.verdict import verdict

_KEPT_STYLE = {"kept": "", "forgot": "bold red", "improved": "green", "unclear": "yellow"}


def show(results: Results, console: Console, report: Path | None = None) -> None:
    """Print one run, readable at 80 columns; `report` is the path of its page."""
    console.print()
    console.print(Text(results.verdict or verdict(results), style="bold"))
    for table in tables(results):
        table.show(console)
    if results.groups:
        console.print()
        console.print(Text(_grouped(results), style="dim"))
    if said := wording.started(results):
        console.print()
        console.print(Text(printable(said), style="dim"))
    spent = cost(results)
    if spent:
        console.print()
        console.print(Text(spent, style="dim"))
    if report is not None:
        # Paths are for copying, so they never wrap.
        console.print(Text(f"Report: {report}"), soft_wrap=True)


def printed(show: Callable[[Console], None]) -> str:
    """What `show` prints, as plain text of 80 columns, for `print(...)` in Python."""
    out = io.StringIO()
    show(Console(file=out, width=80, color_system=None, force_jupyter=False))
    return out.getvalue().strip("\n")


def tables(results: Results) -> tuple[TableRows, TableRows, TableRows]:
    """The tables of scores, of each task's first score over phrasings, of guards; may be empty."""
    return _scores(results.comparisons), _phrasings(results), _guards(results)


def compare(
    results: Sequence[Results],
    console: Console,
    against_first: Sequence[Sequence[Comparison]] = (),
) -> None:
    """Print runs side by side: a row per run, a column per score, then each run's cost.

    ± is half the 95% interval; a missing score shows as a dash. `against_first` are the further
    runs minus the first. Raises InputError without runs.
    """
    if not results:
        raise InputError("compare: no run was given; name one run folder or more.")
    keys = dict.fromkeys((s.task, s.metric) for run in results for s in run.scores)
    guards = {(g.task, g.metric) for run in results for g in run.forgetting}
    for task in dict.fromkeys(task for task, _ in keys):
        metrics = [metric for of, metric in keys if of == task]
        _comparison(results, task, metrics, (task, metrics[0]) in guards).show(console)
        for said in (phrasings.unlike(results, task), phrasings.reworded(results, task)):
            if said:
                console.print(Text(printable(said), style="yellow"))
    console.print(Text("± is half the 95% interval", style="dim"))
    _apart(results).show(console)
    first = results[0].run
    for run, pairs in zip(results[1:], against_first, strict=False):
        _scores(pairs, first, run.run, _title(first, run.run, pairs)).show(console)
    _costs(results).show(console)


def _title(first: str, run: str, pairs: Sequence[Comparison]) -> str:
    """What a comparison of two runs is of; the number of items if there is one task."""
    counts = {pair.wins + pair.losses + pair.ties for pair in pairs}
    on = f"on {counts.pop()} items of both" if len(counts) == 1 else "item by item"
    return f"{run} minus {first}, {on}"


def _grouped(results: Results) -> str:
    """Which tasks have items that are not independent, and how the intervals account for it."""
    counts: dict[str, int] = {}
    for score in results.scores:  # some scores may cover only some items
        counts[score.task] = max(score.n, counts.get(score.task, 0))
    said = (
        f"{task}: {wording.items(counts[task], groups)}"
        for task, groups in results.groups.items()
        if task in counts
    )
    listed = "; ".join(said)
    return f"{listed}. Items of a group are not independent: groups are resampled as a whole."


def _scores(
    comparisons: Sequence[Comparison], before: str = "Before", after: str = "After", title: str = ""
) -> TableRows:
    tasks = {pair.task for pair in comparisons}
    p = "p (Holm)" if any(pair.p_holm is not None for pair in comparisons) else "p"
    table = TableRows(("Score", before, after, "Difference", "95% interval", p), title)
    for pair in comparisons:
        name = wording.metric_name(pair.metric)
        label = name if len(tasks) == 1 else f"{pair.task} {name}"
        style = {1: "green", 0: "", -1: "bold red"}[pair.direction]
        table.add(label, *_values(pair, style), wording.p_value(pair.corrected_p))
    return table


def _phrasings(results: Results) -> TableRows:
    table = TableRows(("Over phrasings", *phrasings.HEADS))
    for task, what, cells in phrasings.rows(results, every=False):
        table.add(f"{task} {what}".strip(), *cells)
    return table


def _guards(results: Results) -> TableRows:
    table = TableRows(("Guard", "Before", "After", "Difference", "95% interval", "Outcome"))
    for guard in results.forgetting:
        style = _KEPT_STYLE[guard.kept]
        name = f"{guard.task} {wording.metric_name(guard.metric)}"
        table.add(name, *_values(guard, style), Text(guard.kept, style=style))
    return table


def _values(pair: Paired, style: str) -> tuple[str, str, Text, str]:
    before, after = wording.fixed(pair.base), wording.fixed(pair.tuned)
    return before, after, Text(wording.difference(pair), style=style), wording.interval(pair)


def cost(results: Results) -> str:
    """The run's cost, on one line."""
    spent = results.cost
    share = spent.trainable_share
    held = f" in {spent.precision}" if spent.precision else ""
    parts = (
        (share, f"{wording.quantity(spent.trainable_parameters)} parameters trained"),
        (share, f"{wording.percent(share or 0)} of the model"),
        (spent.train_seconds, f"{wording.duration(spent.train_seconds)} of training{held}"),
        (spent.tokens_per_second, f"{spent.tokens_per_second:,.0f} tokens/s"),
        (spent.peak_memory_bytes, f"{wording.size(spent.peak_memory_bytes)} peak memory"),
        (spent.adapter_bytes, f"{wording.size(spent.adapter_bytes)} on disk"),
    )
    return " · ".join(text for value, text in parts if value)


def _comparison(
    results: Sequence[Results], task: str, metrics: Sequence[str], guard: bool
) -> TableRows:
    title = f"{task} (guard)" if guard else task
    table = TableRows(("Run", *(wording.metric_name(metric) for metric in metrics)), title)
    how = [
        f"{phrasings.over(run, task)}{items}{mark}"
        for run, items, mark in zip(
            results, _items(results, task), phrasings.marks(results, task), strict=True
        )
    ]
    # Runs whose base has equal scores share one row; otherwise each row names its run.
    bases: dict[str, dict[tuple[str, ...], str]] = {}
    for run, said in zip(results, how, strict=True):
        cells = tuple(_cell(run, "base", task, metric) for metric in metrics)
        if _shown_as(run) == "tuned" and any(cell != "-" for cell in cells):
            bases.setdefault(f"{run.base.before} (before{said}", {}).setdefault(cells, run.run)
    for name, found in bases.items():
        for cells, of in found.items():
            whose = f", {of})" if len(found) > 1 else ")"
            table.add(Text(name + whose, style="dim"), *cells)
    for run, said in zip(results, how, strict=True):
        cells = tuple(_cell(run, _shown_as(run), task, metric) for metric in metrics)
        table.add(run.run + said, *cells)
    return table


def _items(results: Sequence[Results], task: str) -> list[str]:
    """`, 40 items` for each run that scored a task; "" for all if the numbers are equal."""
    counts = [max((s.n for s in run.scores if s.task == task), default=0) for run in results]
    alike = len({count for count in counts if count}) < 2
    said = [f", {count:,} item{'s'[: count > 1]}" for count in counts]
    return [one if count and not alike else "" for count, one in zip(counts, said, strict=True)]


def _apart(results: Sequence[Results]) -> TableRows:
    """The spread of each task's first score over phrasings, for all runs and their bases."""
    table = TableRows(("Over phrasings", *phrasings.HEADS))
    shown: set[tuple[str, ...]] = set()
    for number, run in enumerate(results):
        for one in phrasings.firsts(run):
            mark = phrasings.marks(results, one.task)[number]
            sides = ((f"{run.base.before} (before)", one.base), (run.run, one.tuned))
            for name, side in sides:
                what = f"{name} {one.task}{mark} {wording.metric_name(one.metric)}"
                row = (what, *phrasings.cells(side, one.higher_is_better))
                if row not in shown:
                    table.add(*row)
                shown.add(row)
    return table


def _shown_as(run: Results) -> Who:
    """The model that a run's row shows: the tuned one, or the base if only that was scored."""
    return "tuned" if any(score.who == "tuned" for score in run.scores) else "base"


def _cell(run: Results, who: Who, task: str, metric: str) -> str:
    score = run.score(who, task, metric)
    if score is None:
        return "-"
    low, high = wording.known_bounds(score)
    if low is None or high is None:
        return wording.fixed(score.value)
    return f"{wording.fixed(score.value)} ±{wording.fixed((high - low) / 2)}"


def _costs(results: Sequence[Results]) -> TableRows:
    heads = ("Run", "Method", "Trained", "Time", "Tokens/s", "Memory", "Disk")
    table = TableRows(heads, "cost")
    for run in results:
        cost = run.cost
        share = cost.trainable_share
        shown = (
            (share, wording.percent(share or 0)),
            (cost.train_seconds, wording.duration(cost.train_seconds)),
            (cost.tokens_per_second, f"{cost.tokens_per_second:,.0f}"),
            (cost.peak_memory_bytes, wording.size(cost.peak_memory_bytes)),
            (cost.adapter_bytes, wording.size(cost.adapter_bytes)),
        )
        cells = (text if value else "-" for value, text in shown)
        table.add(run.run, wording.method_name(run.method), *cells)
    return table
