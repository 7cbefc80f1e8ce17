"""Draw a curve over a logarithmic axis, as text or as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from brulee.errors import InputError

_ROWS, _COLUMNS = 12, 64
_FORMATS = (".png", ".svg", ".pdf", ".jpg")


def as_text(xs: Sequence[float], ys: Sequence[float], mark: float) -> str:
    """The curve in a grid of characters; `|` marks the x nearest to `mark`."""
    low, high = min(ys), max(ys)
    left, right = math.log(xs[0]), math.log(xs[-1])

    def column(x: float) -> int:
        return round((math.log(x) - left) / ((right - left) or 1.0) * (_COLUMNS - 1))

    grid = [[" "] * _COLUMNS for _ in range(_ROWS)]
    for row in grid:
        row[column(mark)] = "|"
    for x, y in zip(xs, ys, strict=True):
        grid[round((high - y) / ((high - low) or 1.0) * (_ROWS - 1))][column(x)] = "*"
    label = [f"{high:8.3f} ", *[" " * 9] * (_ROWS - 2), f"{low:8.3f} "]
    lines = [f"{text}{''.join(row)}".rstrip() for text, row in zip(label, grid, strict=True)]
    ends = f"{xs[0]:.0e}", f"{xs[-1]:.0e}"
    return "\n".join([*lines, " " * 9 + ends[0] + ends[1].rjust(_COLUMNS - len(ends[0]))])


def check_picture(file: Path) -> None:
    """Raise InputError if the picture's folder does not exist or its format is unknown."""
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent} to draw it in; make it first.")
    if file.is_dir():
        raise InputError(f"{file}: a folder, where the picture should be; name a file in it.")
    if file.suffix.lower() not in _FORMATS:
        raise InputError(
            f"{file}: pictures are drawn as {', '.join(_FORMATS)}; give it one of these endings."
        )


def as_picture(xs: Sequence[float], ys: Sequence[float], mark: float, file: Path) -> None:
    """Write the curve as a picture, in the format of the file's suffix."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(xs, ys)
    axes.axvline(mark, linestyle="--", color="tab:orange", label=f"suggested: {mark:.1e}")
    axes.set(xlabel="learning rate", ylabel="loss, smoothed")
    axes.legend()
    figure.savefig(file, dpi=120)
