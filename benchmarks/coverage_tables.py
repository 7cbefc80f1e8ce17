"""Tables of a page from benchmarks/results/coverage-pairs.json and coverage-power.json.

    python benchmarks/coverage_tables.py docs/evaluation.md

Each table of the page that follows a comment with its name (`<!-- coverage: power -->`) is written
anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brulee.evaluation.shares import wilson

RESULTS = Path(__file__).parent / "results"
SHOWN = (
    "right or wrong, small", "ROUGE-1, small", "BLEU, small", "macro F1, 2, small",
    "macro F1, 90/10, large", "macro F1, 80/15/5, large", "macro F1, 7, small",
    "macro F1, 90/10, one label before", "Matthews, 90/10, large", "Matthews, 80/15/5, large",
    "pearson, small", "spearman, ties, small", "calibration error, small",
    "calibration error, calibrated, large", "bits per byte, small", "JSON fields, small",
    "bias of two groups, small", "groups of 10, right or wrong, small",
    "groups of 10, overlap, small", "worst case of 6, small", "any of 6, small",
)  # fmt: skip
_KINDS = ("before", "after", "change")
_LEAST, _NOMINAL = 0.9, 0.95


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Every table by name, as Markdown."""
    rows = found["rows"]
    means = [name for name in rows if name.startswith("mean of") and not name.endswith("same")]
    return {
        "coverage": _table(rows, SHOWN, _held),
        "averages": _table(rows, means, _held),
        "less": _lines(("case", "items", "interval of", "in a hundred", "tests"), less(rows)),
        "guards": _table(rows, [name for name in rows if "0.02 lost" in name], _guarded),
        "families": _lines(
            ("tests without a change", "runs", "with a false alarm, in a hundred"),
            [
                (name, str(row["trials"]), f"{100 * row['alarms'] / row['trials']:.1f}")
                for name, row in found["families"].items()
            ],
        ),
        "power": _lines(
            ("score", "detectable", "true", "found in a hundred", "tests"),
            [
                (
                    name,
                    f"{row['detectable']:.3f}",
                    f"{row['true']:.3f}",
                    f"{100 * row['found'] / row['trials']:.0f}",
                    str(row["trials"]),
                )
                for name, row in found["power"].items()
            ],
        ),
    }


def less(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    """What is held in less than 90 of a hundred tests: case, items, which interval, how often.

    Without what may be 95 in a hundred, by Wilson's interval for so few tests.
    """
    return [
        (name, items, kind, f"{100 * row[kind]:.0f}", str(row["trials"]))
        for name, sizes in rows.items()
        for items, row in sizes.items()
        for kind in _KINDS
        if row[kind] < _LEAST and wilson(row[kind], row["trials"])[1] < _NOMINAL
    ]


def _held(row: dict[str, Any]) -> str:
    return " / ".join(f"{100 * row[kind]:.0f}" for kind in _KINDS)


def _guarded(row: dict[str, Any]) -> str:
    return f"{100 * row['low']:.1f} / {100 * row['kept']:.1f}"


def _table(
    rows: dict[str, Any], names: Sequence[str], cell: Callable[[dict[str, Any]], str]
) -> str:
    sizes = list(rows[names[0]])
    return _lines(("items", *sizes), [(n, *(cell(rows[n][s]) for s in sizes)) for n in names])


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def found() -> dict[str, Any]:
    """All results."""
    pairs, power = (
        json.loads((RESULTS / f"coverage-{name}.json").read_text(encoding="utf-8"))
        for name in ("pairs", "power")
    )
    return {**pairs, "power": power["rows"]}


def written(page: str, found: dict[str, Any]) -> str:
    """The page with its tables as they are in the results. Raises KeyError for an unknown name."""
    made = tables(found)
    named = re.compile(r"(<!-- coverage: (\w+) -->\n)\n(?:\|.*\n)*\n*")
    return named.sub(lambda match: f"{match[1]}\n{made[match[2]]}\n\n", page)


def main() -> None:
    page = Path(sys.argv[1])
    page.write_text(written(page.read_text(encoding="utf-8"), found()), encoding="utf-8")


if __name__ == "__main__":
    main()
