"""A sweep in words, and its trials as a table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from brulee.reporting import wording
from brulee.reporting.results import Comparison
from brulee.reporting.sweep_results import LOSS, Sweep, Trial
from brulee.reporting.tables import TableRows

_STATES = {"pruned": "ended early", "failed": "failed", "running": "running"}
_FEW = 30  # validation rows; with fewer, the text warns that the choice is uncertain


def show(found: Sweep, console: Console, page: Path) -> None:
    """Print a sweep, readable at 80 columns; `page` is the path of its HTML page."""
    first, *others = verdict(found)
    console.print()
    console.print(Text(f"{first}.", style="bold"))
    for clause in others:
        console.print(Text(f"- {clause}."))
    trials(found).show(console)
    for reason in reasons(found):
        console.print(Text(reason))
    test(found).show(console)
    if found.command:
        console.print()
        console.print(Text(f"Full run: {found.command}"), soft_wrap=True)
    console.print(Text(f"Report: {page}"), soft_wrap=True)


def verdict(found: Sweep) -> list[str]:
    """The finding, then caveats, as clauses without a full stop."""
    best = found.best
    if best is None:
        return [f"0 of {len(found.trials)} settings finished training", *_losses(found)]
    return [_first(found, best), *_test(found), *_doubts(found), *_losses(found)]


def trials(found: Sweep) -> TableRows:
    """The trials, best first, then those without a score."""
    keys = axes(found)
    heads = ["Trial", objective(found), *(short(key) for key in keys), "Seconds"]
    rest = [trial for trial in found.trials if trial.value is None]
    noted = [note(found, trial) for trial in (*found.ranked, *rest)]
    rows = TableRows([*heads, ""] if any(noted) else heads)
    for trial, said in zip((*found.ranked, *rest), noted, strict=True):
        values = [shown(trial.along.get(key)) for key in keys]
        best = "bold" if trial == found.best else ""
        score = Text(scored(trial), style=best)
        rows.add(trial.run, score, *values, f"{trial.seconds:.0f}", *([said] if any(noted) else []))
    return rows


def test(found: Sweep) -> TableRows:
    """Scores on the test rows: before, the recipe's own setting, the chosen one, the difference."""
    several = len({pair.task for pair in found.test}) > 1
    rows = TableRows(
        ("On the test rows", "Before", "Own", "Chosen", "Difference", "95% interval", "p")
    )
    if not found.test:
        rows = TableRows(
            ("On the test rows", "Before", "Chosen", "Difference", "95% interval", "p")
        )
    for pair in found.test or tested(found):
        name = wording.metric_name(pair.metric)
        before = before_of(found, pair) if found.test else wording.fixed(pair.base)
        own = [wording.fixed(pair.base)] if found.test else []
        rows.add(
            f"{pair.task} {name}" if several else name,
            before,
            *own,
            wording.fixed(pair.tuned),
            wording.difference(pair),
            wording.interval(pair),
            wording.p_value(pair.corrected_p),
        )
    return rows


def tested(found: Sweep) -> tuple[Comparison, ...]:
    """Comparisons of the chosen trial with the base."""
    return found.tested[0].comparisons if found.tested else ()


def before_of(found: Sweep, pair: Comparison) -> str:
    """The base model's score for a comparison whose `base` is the recipe's own setting."""
    same = (c for c in tested(found) if (c.task, c.metric) == (pair.task, pair.metric))
    return next((wording.fixed(c.base) for c in same), "-")


def axes(found: Sweep) -> list[str]:
    """The swept keys."""
    return [text.partition("=")[0] for text in found.axes]


def short(key: str) -> str:
    """`rank` of method.rank; `method` of method.name."""
    return "method" if key == "method.name" else key.partition(".")[2].replace("_", " ")


def shown(value: Any) -> str:
    """A value of an axis; a dash if the axis does not apply to the method."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """`rank 8, learning rate 0.001`."""
    if not values:
        return "the recipe's own setting"
    return ", ".join(f"{short(key)} {shown(value)}" for key, value in values.items())


def objective(found: Sweep) -> str:
    """The score by which trials are compared."""
    loss = found.objective == LOSS
    return "Validation loss" if loss else f"Validation {wording.metric_name(found.objective)}"


def scored(trial: Trial) -> str:
    """`1.2340`, or with several seeds also their standard deviation: `1.2340 ±0.0021`."""
    if trial.value is None:
        return "-"
    if len(trial.values) < 2:
        return f"{trial.value:.4f}"
    mean = trial.value
    spread = (sum((v - mean) ** 2 for v in trial.values) / (len(trial.values) - 1)) ** 0.5
    return f"{mean:.4f} ±{spread:.4f}"


def note(found: Sweep, trial: Trial) -> str:
    """What is special about a trial, in a word or two."""
    if trial.state != "complete":
        return _STATES[trial.state]
    if trial == found.best:
        return "chosen, the recipe's own" if trial.own else "chosen"
    return "the recipe's own" if trial.own else ""


def reasons(found: Sweep) -> list[str]:
    """Why trials have no score."""
    return [f"{t.run} {_STATES[t.state]}: {t.reason}" for t in found.trials if t.reason]


def _first(found: Sweep, best: Trial) -> str:
    count, own = found.compared, found.own
    what = objective(found).replace("Validation", "validation", 1)
    name = f"{_capital(settings(best.settings))} ({best.run})"
    if best.own:
        name = "The recipe's own setting"
    if count == 1:
        return f"{name} alone was trained to its end: {what} {best.value:.4f}"
    known = not best.own and own is not None and own.value is not None
    beside = f", against {own.value:.4f} of the recipe's own" if own and known else ""
    return f"{name} has the best {what} of {count} settings: {best.value:.4f}{beside}"


def _doubts(found: Sweep) -> list[str]:
    count, best, lead = found.compared, found.best, found.lead
    if best is None or lead is None:
        return []
    worse = "lower" if found.higher_is_better else "higher"
    rows = f"{found.validation_rows} validation row{'s' * (found.validation_rows != 1)}"
    few = ", which are few," if found.validation_rows < _FEW else ""
    said = [
        f"{best.value:.4f} is optimistic, being the best of {count} on the {rows}{few} they were "
        f"chosen by: expect a {worse} one on others"
    ]
    second = f"trial-{lead.runner_up:03d}"
    if lead.clear is None:
        said.append(
            f"it is {lead.by:.4f} ahead of the runner-up, {second}; one seed cannot tell "
            "whether another seed would reverse the order (--seeds 3)"
        )
        return said
    interval = f"95% interval over {found.seeds} seeds {lead.low:+.4f} to {lead.high:+.4f}"
    if lead.clear:
        said.append(f"it is ahead of the runner-up, {second}, by more than seeds do: {lead.by:.4f} "
                    f"({interval})")  # fmt: skip
    else:
        said.append(f"it cannot be told from the runner-up, {second}, {lead.by:.4f} behind: seeds "
                    f"do as much ({interval})")  # fmt: skip
    return said


def _test(found: Sweep) -> list[str]:
    pairs = found.test or tested(found)
    if not pairs:
        return []
    pair = pairs[0]
    name = wording.metric_name(pair.metric)
    whose = "with the recipe's own" if found.test else "before"
    return [
        f"on the test rows, which chose nothing, {name} is {wording.fixed(pair.tuned)} against "
        f"{wording.fixed(pair.base)} {whose} ({wording.difference(pair)}, 95% interval "
        f"{wording.interval(pair)}, {wording.p_phrase(pair.corrected_p)})"
    ]


def _losses(found: Sweep) -> list[str]:
    said = []
    for state, words in _STATES.items():
        count = sum(trial.state == state for trial in found.trials)
        if count:
            said.append(f"{count} of {len(found.trials)} {words}")
    missing = found.planned - len(found.trials)
    if missing > 0:
        of = f"{missing} of {found.planned}"
        said.append(f"{of} were not started; run the same command again to continue")
    if found.tested_before:
        names = ", ".join(f"trial-{number:03d}" for number in found.tested_before)
        said.append(f"the test rows were asked before, for {names}, which was chosen then")
    if found.stopped:
        said.append(f"nothing was tested: {found.stopped}")
    return said


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
