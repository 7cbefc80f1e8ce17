"""Inline SVG charts for the report page, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from brulee.reporting import wording
from brulee.reporting.results import Forgetting, Score

Point = tuple[float, float]

NARROW = 480  # pixels; in narrower charts, labels stand above their rows, not to the left
_LABEL = 40  # most characters of a row's label
_MOST_POINTS = 300  # a longer curve is averaged over at most this many windows


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Dot:
    """A value with its interval; `kind` is its CSS class: base, tuned, kept, forgot ..."""

    value: float
    low: float
    high: float
    kind: str
    title: str


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside the range, about `count` of them."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def loss_curve(events: Sequence[Mapping[str, Any]], width: int = 720) -> str:
    """Training loss per step, its moving mean, validation losses; "" without finite losses."""
    train, validation = losses(events, "step"), losses(events, "validation")
    if not train and not validation:
        return ""
    height, left, bottom = (300, 44, 46) if width >= NARROW else (230, 36, 46)
    shown, window = _thin(train), max(1, len(train) // 12)
    x = padded([p[0] for p in train + validation], left, width - 14, 0.0)
    y = padded([p[1] for p in shown + validation], height - bottom, 30, 0.06)
    parts = [_y_axis(y, left, width), x_axis(x, height - bottom, integers=True)]
    parts += [words(left, 14, "loss", "axis-name"), words(width - 14, height - 4, "step", "end")]
    parts.append(_line(shown, x, y, "raw"))
    if window > 1:
        parts.append(_line(_thin(moving_mean(train, window)), x, y, "smooth"))
    parts += [_hover(point, x, y) for point in shown]
    parts.append(_line(validation, x, y, "validation"))
    parts += [_validation_dot(point, x, y) for point in validation]
    return svg(width, height, _loss_label(train, validation), parts)


def score_chart(rows: Sequence[tuple[str, Sequence[Score]]], width: int = 720) -> str:
    """Base and tuned scores per labelled row, with 95% intervals; the axis includes zero."""
    everything = [score for _, scores in rows for score in scores]
    high = max((score.high for score in everything), default=1.0) or 1.0
    low = min(0.0, *(score.low for score in everything))
    drawn = [(label, [_score_dot(score) for score in scores]) for label, scores in rows]
    label = "Scores with 95% intervals. " + " ".join(
        f"{name}: {', '.join(dot.title for dot in dots)}." for name, dots in drawn
    )
    return _forest(drawn, (low, high * 1.04), width, label)


def guard_chart(guards: Sequence[Forgetting], width: int = 720) -> str:
    """Each guard's gain with its 95% interval against a zero line; left of it is a loss."""
    drawn = [(guard.task, [_guard_dot(guard)]) for guard in guards]
    reach = 1.1 * max([0.05, *(abs(v) for guard in guards for v in guard.gain)])
    label = "Change of each guard with its 95% interval. " + " ".join(
        f"{name}: {dots[0].title}." for name, dots in drawn
    )
    return _forest(drawn, (-reach, reach), width, label, zero=True)


def losses(events: Sequence[Mapping[str, Any]], kind: str) -> list[Point]:
    """(step, loss) of every event of a kind whose loss is finite, in step order."""
    chosen = [(float(e["step"]), float(e["loss"])) for e in events if e["event"] == kind]
    return sorted(point for point in chosen if math.isfinite(point[1]))


def moving_mean(points: Sequence[Point], window: int) -> list[Point]:
    """The mean of the `window` points around each point, of fewer near the ends."""
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    half, smoothed = window // 2, []
    for i, (step, _) in enumerate(points):
        # Near an end the window is asymmetric rather than tiny, so the last points are not noise.
        reach = max(min(half, i, len(points) - 1 - i), half // 2)
        first, last = max(0, i - reach), min(len(points), i + reach + 1)
        smoothed.append((step, (sums[last] - sums[first]) / (last - first)))
    return smoothed


def _thin(points: list[Point]) -> list[Point]:
    stride = math.ceil(len(points) / _MOST_POINTS)
    if stride <= 1:
        return points
    chunks = [points[i : i + stride] for i in range(0, len(points), stride)]
    return [(chunk[-1][0], math.fsum(p[1] for p in chunk) / len(chunk)) for chunk in chunks]


def padded(values: Sequence[float], start: float, end: float, share: float) -> Scale:
    """A scale over the values' range, extended by `share` of it at each end."""
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 0.5, high + 0.5
    room = (high - low) * share
    return Scale(low - room, high + room, start, end)


def _forest(
    rows: Sequence[tuple[str, Sequence[Dot]]],
    reach: tuple[float, float],
    width: int,
    label: str,
    zero: bool = False,
) -> str:
    narrow = width < NARROW
    longest = max((len(_short(name, _LABEL)) for name, _ in rows), default=0)
    left = 12 if narrow else 7.0 * longest + 28
    top, gap = (26 if zero else 8), 16
    x = Scale(*reach, left, width - 18)
    body: list[str] = []
    cursor = float(top)
    for name, dots in rows:
        cursor += 24 if narrow else 14
        middle = cursor + gap * (len(dots) - 1) / 2
        at = (left, cursor - 12) if narrow else (0.0, middle + 4)
        body.append(words(*at, _short(name, _LABEL), "label"))
        body += [_dot(dot, x, cursor + gap * i) for i, dot in enumerate(dots)]
        cursor += gap * (len(dots) - 1) + 14
    floor = cursor + 2
    axis = [x_axis(x, floor, grid_top=top)]
    if zero:
        axis.append(rule(x(0), top, x(0), floor, "zero"))
        axis.append(words(x(0) - 10, 14, "← worse", "end"))
        axis.append(words(x(0) + 10, 14, "better →", "start"))
    return svg(width, floor + 26, label, axis + body)


def x_axis(x: Scale, y: float, integers: bool = False, grid_top: float | None = None) -> str:
    """The axis at height `y` with its ticks, and grid lines from it up to `grid_top`."""
    marks = ticks(x.low, x.high, max(3, round((x.end - x.start) / 90)))
    marks = [m for m in marks if not integers or float(m).is_integer()]
    shown = _tick_labels(marks)
    parts = [rule(x.start, y, x.end, y, "axis")]
    for mark, text in zip(marks, shown, strict=True):
        if grid_top is not None:
            parts.append(rule(x(mark), grid_top, x(mark), y, "grid"))
        parts.append(words(x(mark), y + 18, text, "middle"))
    return "".join(parts)


def _y_axis(y: Scale, left: float, width: float) -> str:
    marks = ticks(y.low, y.high, 4)
    parts = []
    for mark, text in zip(marks, _tick_labels(marks), strict=True):
        parts.append(rule(left, y(mark), width - 14, y(mark), "grid"))
        parts.append(words(left - 8, y(mark) + 4, text, "end"))
    return "".join(parts)


def _tick_labels(marks: Sequence[float]) -> list[str]:
    """The ticks' labels, all with the fewest decimals that show every tick exactly."""
    decimals = 0
    while decimals < 6 and any(abs(round(m, decimals) - m) > 1e-9 for m in marks):
        decimals += 1
    return [f"{mark:,.{decimals}f}".replace("-", "−") for mark in marks]


def _score_dot(score: Score) -> Dot:
    who = "before" if score.who == "base" else "after"
    title = f"{who} {wording.fixed(score.value)} ({wording.score_interval(score)})"
    return Dot(score.value, score.low, score.high, score.who, title)


def _guard_dot(guard: Forgetting) -> Dot:
    title = f"{wording.difference(guard)} ({wording.interval(guard)}), {guard.kept}"
    return Dot(*guard.gain, guard.kept, title)


def _dot(dot: Dot, x: Scale, y: float) -> str:
    low, high = (min(max(v, x.low), x.high) for v in (dot.low, dot.high))
    return (
        f'<g class="dot {dot.kind}"><title>{escape(dot.title)}</title>'
        f"{rule(x(low), y, x(high), y, 'whisker')}"
        f'<circle cx="{x(dot.value):.1f}" cy="{y:.1f}" r="5"/></g>'
    )


def _hover(point: Point, x: Scale, y: Scale) -> str:
    title = f"step {point[0]:.0f}: training loss {point[1]:.3f}"
    at = f'cx="{x(point[0]):.1f}" cy="{y(point[1]):.1f}"'
    return f'<circle class="hover" {at} r="6"><title>{title}</title></circle>'


def _validation_dot(point: Point, x: Scale, y: Scale) -> str:
    title = f"step {point[0]:.0f}: validation loss {point[1]:.3f}"
    at = f'cx="{x(point[0]):.1f}" cy="{y(point[1]):.1f}"'
    return f'<circle class="validation-dot" {at} r="4.5"><title>{title}</title></circle>'


def _loss_label(train: Sequence[Point], validation: Sequence[Point]) -> str:
    said = [
        f"{name} loss from {points[0][1]:.2f} at step {points[0][0]:.0f} "
        f"to {points[-1][1]:.2f} at step {points[-1][0]:.0f}"
        for name, points in (("Training", train), ("validation", validation))
        if points
    ]
    return ", ".join(said) + "."


def _line(points: Sequence[Point], x: Scale, y: Scale, kind: str) -> str:
    if len(points) < 2:
        return ""
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return f'<polyline class="curve {kind}" points="{path}"/>'


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line; `kind` is its CSS class."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}/>'


def words(x: float, y: float, text: str, kind: str) -> str:
    """Text at a position; `kind` is its CSS class."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    """The whole drawing; `label` is its text for screen readers."""
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'
    )
