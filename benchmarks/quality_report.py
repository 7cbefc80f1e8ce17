"""The quality study as a Markdown table, and its rank study as a picture.

    python benchmarks/quality_report.py

Reads benchmarks/results/quality-dialogsum.json; prints the table, and writes the picture to
docs/rank-study.png.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "results" / "quality-dialogsum.json"
PICTURE = HERE.parent / "docs" / "rank-study.png"


def main() -> None:
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    print(table(rows))
    draw([row for row in rows if row.get("rank") is not None])


def table(rows: list[dict[str, Any]]) -> str:
    """One line per method, best loss first; refused methods last."""
    head = "| trained | parameters | rate | steps | seeds | loss | R1 | R2 | RL | words |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    measured: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "loss" in row:
            measured.setdefault(row["name"], []).append(row)
    for own in sorted(measured.values(), key=lambda own: mean(own, "loss")):
        scores = [rouge(own, metric) for metric in ("rouge1", "rouge2", "rougeL")]
        words = "" if "words" not in own[0] else f"{mean([r['words'] for r in own], 'tuned'):.0f}"
        cells = (
            own[0]["name"],
            f"{own[0]['trainable']:,}",
            f"{own[0]['learning_rate']:g}",
            str(own[0]["steps"]),
            str(len(own)),
            middle([row["loss"] for row in own], 3),
            *scores,
            words,
        )
        lines.append(f"| {' | '.join(cells)} |")
    refused = {row["name"]: row["refused"] for row in rows if "refused" in row}
    lines += [f"| {name} | refused: {why} |" for name, why in refused.items()]
    return "\n".join(lines)


def mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(statistics.mean(row[key] for row in rows))


def rouge(rows: list[dict[str, Any]], metric: str) -> str:
    """The ROUGE cell; empty if no summaries were generated."""
    return middle([row["tuned"][metric] for row in rows]) if "tuned" in rows[0] else ""


def middle(values: list[float], places: int = 4) -> str:
    """The mean, and the standard deviation if there are several values."""
    text = f"{statistics.mean(values):.{places}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{places}f}"


def draw(rows: list[dict[str, Any]]) -> None:
    """Plot loss and ROUGE-1 over the rank, a dot per seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    def plot(axes: Any, name: str, value: Callable[[dict[str, Any]], float]) -> None:
        axes.plot([row["rank"] for row in rows], [value(row) for row in rows], "o", alpha=0.6)
        means = [statistics.mean(value(r) for r in rows if r["rank"] == rank) for rank in ranks]
        axes.plot(ranks, means, "-", color="black", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ranks, [str(rank) for rank in ranks])
        axes.set_xlabel("rank")
        axes.set_title(name, fontsize=10)

    ranks = sorted({row["rank"] for row in rows})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), constrained_layout=True)
    plot(left, "loss on the test summaries", lambda row: float(row["loss"]))
    plot(right, "ROUGE-1", lambda row: float(row["tuned"]["rouge1"]))
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
