"""A sweep as one self-contained page: the chosen setting, how certain it is, every trial."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Final

from brulee.reporting import sweep_charts, wording
from brulee.reporting.page_style import STYLE
from brulee.reporting.page_tables import both_widths, number, table
from brulee.reporting.results import Comparison
from brulee.reporting.sweep_results import SCHEMA, Sweep, Trial
from brulee.reporting.sweep_text import (
    axes,
    before_of,
    note,
    objective,
    reasons,
    scored,
    short,
    shown,
    tested,
    verdict,
)
from brulee.textfile import write_text

FILE_NAME = "sweep.html"

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LIGHT: Final = ("#a8481a", "#2f6f9f", "#2d6a46", "#7a4fa3", "#9a6b00", "#b03a6b", "#4f5b66")
_DARK: Final = ("#f0a06a", "#7fbce8", "#86d0a3", "#c5a3ea", "#e0b84d", "#f08fb8", "#b4bec9")


def _colours(colours: tuple[str, ...]) -> str:
    return " ".join(f"--s{i}: {colour};" for i, colour in enumerate(colours))


_STYLE: Final = (
    f":root {{ {_colours(_LIGHT)} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_colours(_DARK)} }} }}\n"
    + "\n".join(f".s{i} {{ --of: var(--s{i}); }}" for i in range(len(_LIGHT)))
    + """
svg .trial circle { fill: var(--of); fill-opacity: .55; stroke: var(--of); }
svg .trial.best circle { fill-opacity: 1; stroke: var(--ink); stroke-width: 2; }
svg .trial.own circle { fill: var(--paper); fill-opacity: 1; stroke-width: 2; }
svg .trial.best.own circle { fill: var(--of); }
svg .trial circle.seed { fill: none; stroke: var(--of); stroke-width: 1; stroke-opacity: .6; }
svg .trial.far circle { fill: none; stroke-dasharray: 2 2; }
svg .trial text { fill: var(--of); font-size: 14px; }
svg .way { fill: none; stroke: var(--of); stroke-width: 1.25; stroke-opacity: .45; }
svg .trial.own .way { stroke-dasharray: 5 4; stroke-opacity: .9; stroke-width: 1.75; }
svg .trial.best .way { stroke-width: 2.75; stroke-opacity: 1; }
svg .trial:hover .way { stroke-opacity: 1; stroke-width: 2.5; }
figcaption .key i.dot { background: var(--of); }
figcaption .key i.open { background: none; border: 2px solid var(--base); }
figcaption .key i.full { background: var(--base); border: 2px solid var(--ink); }
section p a { color: inherit; }
.said { margin: 1.25rem 0 0; padding-left: 1.125rem; color: var(--soft); font-size: .875rem;
  max-width: 54rem; }
"""
)


def write_page(found: Sweep, folder: Path) -> Path:
    """Write sweep.html atomically; returns its path."""
    target = folder / FILE_NAME
    write_text(target, render(found))
    return target


def render(found: Sweep) -> str:
    """The whole page as text; every value from a recipe is escaped."""
    sections = (_along(found), _test(found), _trials(found), _curves(found), _again(found))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(found.name)} · brulee sweep</title>'
        f"<style>{STYLE}{_STYLE}</style></head><body><main>{_masthead(found)}{_verdict(found)}"
        f"{_figures(found)}{''.join(sections)}<footer>Written by brulee from sweep.json, schema "
        f"{SCHEMA}.</footer></main></body></html>\n"
    )


def _masthead(found: Sweep) -> str:
    how = "every combination" if found.sampler == "grid" else "proposed by TPE"
    said = f"{len(found.trials)} settings on {found.base}, {how}"
    return f'<header class="masthead"><h1>{escape(found.name)}</h1><p>{escape(said)}</p></header>'


def _verdict(found: Sweep) -> str:
    first, *others = verdict(found)
    listed = "".join(f"<li>{number(clause)}</li>" for clause in others)
    then = f"<ul>{listed}</ul>" if others else ""
    return f'<div class="verdict"><p>{number(first)}.</p>{then}</div>'


def _figures(found: Sweep) -> str:
    best, own = found.best, found.own
    figures = [(str(len(found.ranked)), f"of {found.planned} settings trained to the end")]
    figures.append((str(found.seeds), "seed each" if found.seeds == 1 else "seeds each"))
    figures.append((str(found.validation_rows), "validation rows chose"))
    if best is not None and best.value is not None:
        figures.append((f"{best.value:.4f}", f"{objective(found).lower()} of the best"))
    if own is not None and own.value is not None and own != best:
        figures.append((f"{own.value:.4f}", "of the recipe's own"))
    if found.spread is not None:
        figures.append((f"±{found.spread:.4f}", "between seeds of one setting"))
    figures.append((wording.duration(sum(t.seconds for t in found.trials)), "of training steps"))
    rows = "".join(
        f"<div><dt>{number(label)}</dt><dd>{number(value)}</dd></div>" for value, label in figures
    )
    return f'<dl class="figures">{rows}</dl>'


def _along(found: Sweep) -> str:
    """The score against the learning rate and every other numeric axis."""
    figures = [
        f"<h3>By {escape(name)}</h3><figure><figcaption>{_key(found)}</figcaption>"
        f"{both_widths(partial(sweep_charts.along, found, name, at, log))}</figure>"
        for name, at, log in _numbers(found)
    ]
    if not figures:
        return ""
    better = "higher" if found.higher_is_better else "lower"
    return (
        f"<section><h2>What the settings do</h2><p>{objective(found)}, {better} is better. A "
        "trial whose score is far off is drawn at the edge, with an arrow.</p>"
        f"{''.join(figures)}</section>"
    )


def _numbers(found: Sweep) -> list[tuple[str, Callable[[Trial], float | None], bool]]:
    """The numeric axes: name, value of a trial (None if it lacks one), whether logarithmic."""
    trials = found.ranked
    listed: list[tuple[str, Callable[[Trial], float | None], bool]] = []
    if len({trial.learning_rate for trial in trials}) > 1:
        listed.append(("learning rate", lambda trial: trial.learning_rate, True))
    for key in axes(found):
        values = [trial.along.get(key) for trial in trials if key in trial.along]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if key == "train.learning_rate" or len(numbers) < len(values) or len(set(numbers)) < 2:
            continue
        log = min(numbers) > 0 and max(numbers) / min(numbers) > 8
        listed.append((short(key), partial(_setting, key), log))
    return listed


def _setting(key: str, trial: Trial) -> float | None:
    return float(trial.along[key]) if key in trial.along else None


def _key(found: Sweep) -> str:
    colours = sweep_charts.colour_of(found)
    keys = [
        f'<span class="key s{colour}"><i class="dot"></i>{escape(method)}</span>'
        for method, colour in colours.items()
    ]
    keys.append('<span class="key"><i class="full"></i>chosen</span>')
    keys.append('<span class="key"><i class="open"></i>the recipe\'s own</span>')
    return "".join(keys)


def _trials(found: Sweep) -> str:
    if not found.trials:
        return ""
    keys = axes(found)
    rest = [trial for trial in found.trials if trial.value is None]
    rows = [
        [
            escape(trial.run),
            number(scored(trial)),
            *(escape(shown(trial.along.get(key))) for key in keys),
            wording.duration(trial.seconds),
            number(note(found, trial)),
        ]
        for trial in (*found.ranked, *rest)
    ]
    heads = ("Trial", objective(found), *(short(key) for key in keys), "Training", "")
    listed = "".join(f"<li>{number(reason)}</li>" for reason in reasons(found))
    why = f'<ul class="said">{listed}</ul>' if listed else ""
    spread = "" if found.seeds == 1 else " ± is the standard deviation between seeds."
    return (
        "<section><h2>Every trial</h2><p>Best first. Each is a run in the folder of that name."
        f"{spread}</p>{table('Settings by their validation rows', heads, rows)}"
        f"{why}</section>"
    )


def _curves(found: Sweep) -> str:
    chart = both_widths(partial(sweep_charts.curves, found))
    if "<svg" not in chart:
        return ""
    return (
        "<section><h2>Loss curves</h2><p>Validation loss during training, for each trial's first "
        "seed. Thick: the chosen setting; dashed: the recipe's own; ×: ended early.</p>"
        f"<figure><figcaption>{_key(found)}</figcaption>{chart}</figure></section>"
    )


def _test(found: Sweep) -> str:
    pairs = found.test or tested(found)
    if not pairs:
        return ""
    own = ["The recipe's own"] if found.test else []
    heads = ("Score", "Before", *own, "Chosen", "Difference", "95% interval", "p")
    rows = [_pair(found, pair) for pair in pairs]
    whom = "the recipe's own setting" if found.test else "the model before"
    asked = ", so nothing here is optimistic"
    if found.tested_before:
        asked = ", though they were asked before, for a setting that was chosen then"
    reports = ", ".join(
        f'<a href="{escape(run.run)}/report.html">{escape(run.run)}</a>' for run in found.tested
    )
    return (
        f"<section><h2>On the test rows</h2><p>No test row chose anything{asked}. The "
        f"difference is the chosen setting minus {whom}, item by item. In full: "
        f"{reports}.</p>{table('Scores on the test rows', heads, rows)}</section>"
    )


def _pair(found: Sweep, pair: Comparison) -> list[str]:
    several = len({one.task for one in found.test or tested(found)}) > 1
    name = escape(wording.metric_name(pair.metric))
    before = [before_of(found, pair)] if found.test else []
    kind = {1: ' class="up"', 0: "", -1: ' class="down"'}[pair.direction]
    return [
        f"{escape(pair.task)}<small>{name}</small>" if several else name,
        *before,
        number(wording.fixed(pair.base)),
        number(wording.fixed(pair.tuned)),
        f"<td{kind}>{number(wording.difference(pair))}</td>",
        number(wording.interval(pair)),
        number(wording.p_value(pair.corrected_p)),
    ]


def _again(found: Sweep) -> str:
    listed = "\n".join(found.axes)
    command = f"<p>The chosen setting in full:</p><pre>{escape(found.command)}</pre>"
    return (
        f"<section><h2>Reproduce</h2>{command if found.command else ''}"
        f"<details><summary>Axes</summary><pre>{escape(listed)}</pre></details></section>"
    )
