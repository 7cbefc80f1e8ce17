"""Histograms of token lengths as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

from html import escape

from brulee.data.inspection_lengths import Lengths
from brulee.reporting.charts import NARROW, Scale, ticks

_CHARACTER = 7.5  # pixels


def histogram(found: Lengths, name: str, width: int, cut: int | None = None) -> str:
    """Rows per bin of lengths; draws a line at max_length `cut`, with bars past it in red."""
    tall = 260 if width >= NARROW else 210
    left, right, top, floor = 52, width - 12, 54, tall - 44
    x = Scale(0, found.bin_width * len(found.bins), left, right)
    y = Scale(0, max(found.bins), floor, top)
    parts = [_grid(y, left, right), _bars(found, x, y, cut), _axis(x, floor, found)]
    parts += [
        _quantile(x, top, floor, found.p50, "p50"),
        _quantile(x, top, floor, found.p95, "p95"),
    ]
    if cut is not None and cut < x.high:
        parts.append(_cut_line(x, top, floor, cut))
    label = f"{name}: median {found.p50:,} tokens, 95% up to {found.p95:,}, longest {found.max:,}."
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {tall}" '
        f'width="{width}" height="{tall}">{"".join(parts)}</svg>'
    )


def _bars(found: Lengths, x: Scale, y: Scale, cut: int | None) -> str:
    shown = []
    for number, count in enumerate(found.bins):
        low = number * found.bin_width
        last = number == len(found.bins) - 1 and found.beyond
        kind = "bar lost" if cut is not None and low >= cut else "bar"
        title = f"{_range(low, found.bin_width, bool(last))}: {count:,} rows"
        gap = 1 if x(found.bin_width) - x(0) > 4 else 0
        size = f'width="{x(found.bin_width) - x(0) - gap:.1f}" height="{y(0) - y(count):.1f}"'
        if count:
            shown.append(
                f'<rect class="{kind}" x="{x(low):.1f}" y="{y(count):.1f}" {size}>'
                f"<title>{title}</title></rect>"
            )
    return "".join(shown)


def _range(low: int, width: int, last: bool) -> str:
    if last:
        return f"{low:,} tokens and more"
    return f"{low:,} tokens" if width == 1 else f"{low:,} to {low + width - 1:,} tokens"


def _grid(y: Scale, left: float, right: float) -> str:
    marks = [mark for mark in ticks(0, y.high, 3) if float(mark).is_integer()]
    return "".join(
        f'<line class="grid" x1="{left}" y1="{y(mark):.1f}" x2="{right}" y2="{y(mark):.1f}"/>'
        + _text(left - 8, y(mark) + 4, f"{mark:,.0f}", "end")
        for mark in marks
    )


def _axis(x: Scale, floor: float, found: Lengths) -> str:
    marks = ticks(0, x.high, max(3, round((x.end - x.start) / 90)))
    marks = [mark for mark in marks if float(mark).is_integer()]
    shown = [f'<line class="axis" x1="{x.start}" y1="{floor}" x2="{x.end}" y2="{floor}"/>']
    shown += [_text(x(mark), floor + 18, f"{mark:,.0f}", "middle") for mark in marks]
    more = f"tokens; longer than this: {found.beyond:,} →" if found.beyond else "tokens"
    shown.append(_text(x.end, floor + 38, more, "end"))
    return "".join(shown)


def _quantile(x: Scale, top: float, floor: float, value: int, name: str) -> str:
    if value >= x.high:
        return ""
    # The labels are at different heights, so that they cannot overlap.
    head = top - (4 if name == "p50" else 18)
    return _upright(x(value), head, floor, "quantile") + _beside(
        x, value, head, f"{name} {value:,}"
    )


def _cut_line(x: Scale, top: float, floor: float, cut: int) -> str:
    head = top - 36
    label = _beside(x, cut, head, f"max_length {cut:,}", " cut")
    return _upright(x(cut), head, floor, "cut") + label


def _upright(x: float, y1: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y1 - 8}" x2="{x:.1f}" y2="{y2}"/>'


def _beside(x: Scale, value: int, y: float, text: str, kind: str = "") -> str:
    """A label to the right of its line if it fits there, else to the left."""
    left = x(value) + _CHARACTER * len(text) > x.end
    side = "end" if left else "start"
    return _text(x(value) + (-6 if left else 6), y, text, side + kind)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
