"""Scores over phrasings as two rows of dots, before and after, with a line per phrasing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from brulee.reporting import wording
from brulee.reporting.charts import NARROW, Scale, padded, rule, svg, words, x_axis
from brulee.reporting.results import Phrasings, Spread

_DOT: Final = 9.0  # least distance of two dots in pixels
_STRIP: Final = 64  # pixels from one row of dots to the next
_TOP: Final = 34


def phrasing_chart(one: Phrasings, width: int = 720) -> str:
    """A dot per phrasing, with each model's median and quartiles."""
    narrow = width < NARROW
    left, right = (14, width - 14) if narrow else (64, width - 18)
    x = padded([*one.base.scores, *one.tuned.scores], left, right, 0.06)
    sides = (("base", "before", one.base), ("tuned", "after", one.tuned))
    placed = [_placed(side.scores, x) for _, _, side in sides]
    heights = [_TOP + i * (_STRIP + _piled(of)) for i, of in enumerate(placed)]
    floor = heights[1] + _piled(placed[1]) + 26
    parts = [x_axis(x, floor, grid_top=10)]
    parts += [
        rule(*(a, heights[0] + up), *(b, heights[1] + down), "link")
        for (a, up), (b, down) in zip(*placed, strict=True)
    ]
    for (kind, name, side), of, y in zip(sides, placed, heights, strict=True):
        parts.append(_middle(side, x, y))
        beside = y - 16 if narrow else y + 4
        parts.append(words(left if narrow else 0.0, beside, name, "label"))
        for phrasing, value, (at_x, down) in zip(one.names, side.scores, of, strict=True):
            title = escape(f"{phrasing}: {name} {wording.fixed(value)}")
            parts.append(
                f'<g class="dot {kind}"><title>{title}</title>'
                f'<circle cx="{at_x:.1f}" cy="{y + down:.1f}" r="4.5"/></g>'
            )
    return svg(width, floor + 26, _label(one), parts)


def _placed(scores: Sequence[float], x: Scale) -> list[tuple[float, float]]:
    """Each dot's x and its offset below the row; dots that would overlap are stacked downwards."""
    placed: list[tuple[float, float]] = [(0.0, 0.0)] * len(scores)
    taken: list[tuple[float, float]] = []
    for i in sorted(range(len(scores)), key=lambda i: scores[i]):
        at, down = x(scores[i]), 0.0
        while any(abs(at - a) < _DOT and down == d for a, d in taken):
            down += _DOT
        placed[i] = (at, down)
        taken.append(placed[i])
    return placed


def _piled(placed: Sequence[tuple[float, float]]) -> float:
    return max(down for _, down in placed)


def _middle(side: Spread, x: Scale, y: float) -> str:
    low, middle, high = (x(side.at(share)) for share in (0.25, 0.5, 0.75))
    band = rule(low, y, high, y, "quartiles")
    return band + rule(middle, y - 11, middle, y + 11, "median")


def _label(one: Phrasings) -> str:
    said = [
        f"{name} {wording.fixed(min(side.scores))} to {wording.fixed(max(side.scores))}, "
        f"median {wording.fixed(side.at(0.5))}"
        for name, side in (("before", one.base), ("after", one.tuned))
    ]
    metric = wording.metric_name(one.metric)
    return f"{metric} on {one.task} under {len(one.names)} phrasings: {'; '.join(said)}."
