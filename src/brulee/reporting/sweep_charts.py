"""A sweep's trials as inline SVG: scores along an axis, and validation curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape

from brulee.reporting.charts import NARROW, Scale, rule, svg, ticks, words
from brulee.reporting.sweep_results import Sweep, Trial
from brulee.reporting.sweep_text import objective, scored, settings, shown

SERIES = 7  # colours; more methods than there are
_FAR = 4.0  # times the median trial's distance from the best; farther scores are at the edge
_TOP, _BOTTOM, _RIGHT = 30, 46, 16


def colour_of(found: Sweep) -> dict[str, int]:
    """The colour number of each method, in the order of the trials."""
    methods = dict.fromkeys(trial.method for trial in found.trials)
    return {method: i % SERIES for i, method in enumerate(methods)}


def along(
    found: Sweep, name: str, at: Callable[[Trial], float | None], log: bool, width: int
) -> str:
    """The trials' scores against a number, coloured by method, with seeds as small dots.

    Trials whose method lacks this number are left out.
    """
    placed = [(trial, has) for trial in found.ranked if (has := at(trial)) is not None]
    trials, xs = [trial for trial, _ in placed], [number for _, number in placed]
    height, left = _size(width)
    x, marks = _x_scale(xs, log, left, width - _RIGHT)
    y, beyond = _y_scale(found, [trial.value or 0.0 for trial in trials], height)
    parts = [_y_axis(y, left, width), _x_axis(x, marks, height - _BOTTOM, log)]
    parts += [words(left, 14, objective(found).lower(), "axis-name")]
    parts += [words(width - _RIGHT, height - 6, name, "end")]
    colours = colour_of(found)
    # The best is drawn last, on top.
    for trial, value in reversed(placed):
        place = x(math.log10(value) if log else value)
        parts.append(_trial(found, trial, place, y, beyond, colours[trial.method]))
    label = f"{objective(found)} of {len(trials)} settings against {name}. Best: "
    best, value = placed[0]
    return svg(width, height, f"{label}{scored(best)} at {shown(value)}.", parts)


def curves(found: Sweep, width: int) -> str:
    """Validation losses by step, a line per trial; "" if no trial was validated twice."""
    drawn = [trial for trial in found.trials if len(trial.curve) > 1]
    if not drawn:
        return ""
    height, left = _size(width)
    points = [point for trial in drawn for point in trial.curve]
    x = Scale(0, max(step for step, _ in points), left, width - _RIGHT)
    lowest = [min(loss for _, loss in trial.curve) for trial in drawn]
    edge = _edge(min(lowest), lowest)
    near = [t for t, low in zip(drawn, lowest, strict=True) if low <= edge]
    y = _padded(min(lowest), max(loss for trial in near for _, loss in trial.curve), height)
    marks = [mark for mark in ticks(0, x.high, _count(width)) if float(mark).is_integer()]
    parts = [_y_axis(y, left, width), _x_axis(x, marks, height - _BOTTOM, False)]
    parts += [words(left, 14, "validation loss", "axis-name")]
    parts += [words(width - _RIGHT, height - 6, "step", "end")]
    colours, best = colour_of(found), found.best
    # The best is drawn last, on top.
    for trial in sorted(drawn, key=lambda trial: trial == best):
        parts.append(_curve(trial, trial == best, x, y, colours[trial.method]))
    return svg(width, height, f"Validation loss of {len(drawn)} trials by step.", parts)


def _trial(found: Sweep, trial: Trial, x: float, y: Scale, beyond: float, colour: int) -> str:
    title = f"{trial.run}: {settings(trial.settings)}: {scored(trial)}"
    far = _is_beyond(found, trial.value or 0.0, beyond)
    level = y(beyond) if far else y(trial.value or 0.0)
    kinds = [f"s{colour}", "best" * (trial == found.best), "own" * trial.own, "far" * far]
    seeds = "".join(
        f'<circle class="seed" cx="{x:.1f}" cy="{y(value):.1f}" r="2.5"/>'
        for value in (trial.values if len(trial.values) > 1 else ())
        if not _is_beyond(found, value, beyond)
    )
    arrow = words(x, level + (14 if found.higher_is_better else -8), "↑↓"[found.higher_is_better],
                  "middle") if far else ""  # fmt: skip
    radius = 6.5 if trial == found.best else 5
    return (
        f'<g class="trial {" ".join(filter(None, kinds))}"><title>{escape(title)}</title>{seeds}'
        f'<circle cx="{x:.1f}" cy="{level:.1f}" r="{radius}"/>{arrow}</g>'
    )


def _curve(trial: Trial, best: bool, x: Scale, y: Scale, colour: int) -> str:
    points = [(step, min(loss, y.high)) for step, loss in trial.curve]
    path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
    (step, loss), kinds = points[-1], f"s{colour}{' best' * best}{' own' * trial.own}"
    end = f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="{4 if best else 2.5}"/>'
    if trial.state == "pruned":
        end = words(x(step), y(loss) + 4, "×", "middle")
    title = f"{trial.run}: {settings(trial.settings)}"
    return (
        f'<g class="trial {kinds}"><title>{escape(title)}</title>'
        f'<polyline class="way" points="{path}"/>{end}</g>'
    )


def _y_scale(found: Sweep, values: Sequence[float], height: float) -> tuple[Scale, float]:
    """The scale, and the score beyond which outlying trials are drawn at its edge."""
    best, sign = values[0], -1.0 if found.higher_is_better else 1.0
    edge = sign * _edge(sign * best, [sign * value for value in values])
    return _padded(min(best, edge), max(best, edge), height), edge


def _edge(best: float, values: Sequence[float]) -> float:
    """The upper end of the scale, without values far from the best (the smallest)."""
    reach, most = _FAR * (statistics.median(values) - best), max(values)
    return best + reach if 0 < 2 * reach < most - best else most


def _is_beyond(found: Sweep, value: float, edge: float) -> bool:
    return value < edge if found.higher_is_better else value > edge


def _x_scale(xs: Sequence[float], log: bool, start: float, end: float) -> tuple[Scale, list[float]]:
    """The scale, of log10 values if `log`, and the tick values."""
    if not log:
        low, high = min(xs), max(xs)
        room = (high - low) * 0.04 or 0.5
        scale = Scale(low - room, high + room, start, end)
        return scale, ticks(scale.low, scale.high, _count(end))
    low, high = math.log10(min(xs)), math.log10(max(xs))
    room = (high - low) * 0.05 or 0.2
    scale = Scale(low - room, high + room, start, end)
    powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    factors = (
        (1, 2, 5) if high - low < 2.2 and end >= NARROW else (1, 3) if high - low < 3 else (1,)
    )
    marks = [factor * 10.0**power for power in powers for factor in factors]
    return scale, [mark for mark in marks if scale.low <= math.log10(mark) <= scale.high]


def _padded(low: float, high: float, height: float) -> Scale:
    room = (high - low) * 0.08 or abs(high) * 0.01 or 0.5
    return Scale(low - room, high + room, height - _BOTTOM, _TOP)


def _size(width: int) -> tuple[float, float]:
    return (320, 56) if width >= NARROW else (250, 48)


def _count(width: float) -> int:
    return max(3, round(width / 110))


def _x_axis(x: Scale, marks: Sequence[float], floor: float, log: bool) -> str:
    parts = [rule(x.start, floor, x.end, floor, "axis")]
    for mark in marks:
        place = x(math.log10(mark) if log else mark)
        parts.append(words(place, floor + 18, f"{mark:g}", "middle"))
    return "".join(parts)


def _y_axis(y: Scale, left: float, width: float) -> str:
    parts = []
    for mark in ticks(y.low, y.high, 4):
        parts.append(rule(left, y(mark), width - _RIGHT, y(mark), "grid"))
        parts.append(words(left - 8, y(mark) + 4, f"{mark:g}".replace("-", "−"), "end"))
    return "".join(parts)
