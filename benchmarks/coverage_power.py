"""How often a paired test finds a true difference of the size that it says is detectable.

    python benchmarks/coverage_power.py [--trials 1000] [--sizes 20 50]

`stats.compare` states the least difference that a test of its size finds in four cases of five. For
each kind of score and number of items, a population is sought whose true difference is what its own
tests state on average, and the tests that report it are counted: p below 0.05, and an interval
without zero. Writes benchmarks/results/coverage-power.json: the statement, the true difference, and
the count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from coverage_pairs import SIZES, drawn
from coverage_populations import SKEWED, answers, labelled, numbers, overlaps
from coverage_samples import Pairs
from mixture import machine

from brulee.evaluation.classification import MacroF1

RESULT = Path(__file__).parent / "results" / "coverage-power.json"
_STEPS = 12  # halvings of the range in which a population's true difference is sought
_PROBES = 100  # tests that say what is detectable, in each step

# A population of any true difference: what it is made with, from none to a large one.
POWERS: dict[str, tuple[Callable[[float], Pairs], float]] = {
    "right or wrong": (lambda by: answers(0.4, 0.08, 0.08 + by), 0.52),
    "overlap": (lambda by: overlaps(2, 5, 0, by), 2.0),
    "macro F1, 2": (lambda by: labelled(MacroF1, [0.5, 0.5], 0.4, 0.4 + by), 0.55),
    "macro F1, 90/10": (lambda by: labelled(MacroF1, SKEWED, 0.4, 0.4 + by), 0.6),
    "pearson": (lambda by: numbers("pearson", 0.3, 0.3 + by), 0.65),
}


def detectable(name: str, items: int, resamples: int) -> tuple[Pairs, float] | None:
    """A population whose true difference is what its own tests say they can detect, and that one.

    None if no difference is so large.
    """
    of, most = POWERS[name]
    low, high = 0.0, most
    for step in range(_STEPS):
        middle = (low + high) / 2
        case = of(middle)
        found = drawn(case, name, items, _PROBES, resamples, 1 << 20 | step)
        stated = float(np.mean([one.detectable for one in found if one.detectable]))
        before, after = case.truth()
        low, high = (middle, high) if after - before < stated else (low, middle)
    return (case, stated) if high < most else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="of each case")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rows: dict[str, Any] = {}
    started = time.process_time()
    for name in POWERS:
        for items in given.sizes:
            made = detectable(name, items, given.resamples)
            if made is None:
                continue
            case, stated = made
            before, after = case.truth()
            tests = drawn(case, name, items, given.trials, given.resamples, 0)
            found = sum(one.p < 0.05 and not one.change[1] <= 0 <= one.change[2] for one in tests)
            rows[f"{name}, {items} items"] = {
                "detectable": round(stated, 4), "true": round(after - before, 4),
                "trials": given.trials, "found": found,
            }  # fmt: skip
            print(f"{name}, {items} items".ljust(40), *rows[f"{name}, {items} items"].values())
    what = {"what": "power at the difference that is stated as detectable", "rows": rows}
    seconds = {"processor_seconds": round(time.process_time() - started)}
    given.out.write_text(json.dumps(what | seconds | machine(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
