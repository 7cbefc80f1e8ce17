"""Coverage and size of the paired before-and-after, for every kind of metric, by simulation.

    python benchmarks/coverage_pairs.py [--trials 2000] [--only NAME] [--sizes 20 50]

A case is a large population of items answered before and after, so its true scores are known
(coverage_populations.py). Each trial draws a test from it and asks `stats.interval` and
`stats.compare`. Per case and number of items, of each task or groups:

- `before`, `after`, `change`: how often the interval of the score, or of the difference, holds the
  truth; `low`: how often the lower bound of the difference alone does, as a guard's "could be as
  bad as" (97.5% if it is right);
- `width`: of the interval of the difference, over that of a normal interval with the true error;
- `p_below`: how often p is below 0.05, `disagree`: how often that and "the interval excludes zero"
  differ, `reported`: how often both hold. Under "same", nothing changed: each report is an error;
- `kept`: how often a guard would be kept. Under "0.02 lost", that is an error.

`families` draws many tests without any change and counts how often at least one is reported after
Holm's correction. How often a true change is found: coverage_power.py.

All cases are drawn in rounds, and the file is written after each: one that is stopped is whole, and
says of how many trials it is. Writes benchmarks/results/coverage-pairs.json.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from coverage_populations import SKEWED, answers, cases, labelled, overlaps
from coverage_samples import Pairs, Sample, Tasks, unchanged
from mixture import machine

from brulee.evaluation.classification import MacroF1
from brulee.evaluation.stats import holm
from brulee.reporting.results import outcome

RESULT = Path(__file__).parent / "results" / "coverage-pairs.json"
SIZES = (20, 50, 100, 500)
OF_A_TASK = (10, 20, 50)  # items of each task of an average
# What takes long has fewer trials, by this factor: a case, and any of as many items.
_FEWER = {"mean of 60": 16, "mean of": 4, "calibration": 4} | dict.fromkeys(
    ("ROUGE", "BLEU", "chrF", "bits", "JSON", "groups", "bias", "pass"), 4
)
_MANY = 500
_Z = 1.959964
_TESTS = (10, 40)  # of a family


def measured(found: list[Sample], truth: tuple[float, float]) -> dict[str, Any]:
    """One row of the table; see the module's docstring."""
    wanted = (*truth, truth[1] - truth[0])
    kinds = [np.array([getattr(f, k) for f in found]) for k in ("before", "after", "change")]
    held = [
        float(((k[:, 1] - 1e-9 <= t) & (t <= k[:, 2] + 1e-9)).mean())
        for k, t in zip(kinds, wanted, strict=True)
    ]
    changes = kinds[2]
    spread = float(changes[:, 0].std())
    small = np.array([f.p for f in found]) < 0.05
    outside = (changes[:, 1] > 0) | (changes[:, 2] < 0)
    row = {
        "trials": len(found),
        "before": held[0],
        "after": held[1],
        "change": held[2],
        "low": float((changes[:, 1] - 1e-9 <= wanted[2]).mean()),
        "width": float((changes[:, 2] - changes[:, 1]).mean()) / (2 * _Z * spread)
        if spread
        else None,
        "p_below": float(small.mean()),
        "disagree": float((small != outside).mean()),
        "reported": float((small & outside).mean()),
        "kept": float(np.mean([outcome(f.change[1], f.change[2], f.p) == "kept" for f in found])),
    }
    return {key: None if value is None else round(value, 4) for key, value in row.items()}


def drawn(
    case: Pairs | Tasks, name: str, items: int, trials: int, resamples: int, turn: int
) -> list[Sample]:
    """Tests of one case; other ones in every round."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), items, turn])
    return [case.sample(rng, items, resamples) for _ in range(trials)]


def trials(name: str, items: int, each: int) -> int:
    """The trials of a case in one round, of `each` that a fast one has."""
    fewer = next((by for start, by in _FEWER.items() if name.startswith(start)), 1)
    return max(1, each // (fewer * (4 if items >= _MANY else 1)))


def families() -> dict[str, Pairs]:
    """Populations without a change, for many tests at once."""
    return {
        "right or wrong": unchanged(answers(0.6, 0.08, 0.12)),
        "overlap": unchanged(overlaps(2, 5, 0, 0.2)),
        "macro F1, 90/10": unchanged(labelled(MacroF1, SKEWED, 0.6, 0.7)),
    }


def false_alarms(
    case: Pairs, name: str, tests: int, items: int, trials: int, resamples: int, turn: int
) -> int:
    """In how many of so many families of tests at least one reports a change."""
    alarms = 0
    for family in range(trials):
        found = drawn(case, name, items, tests, resamples, turn * trials + family)
        adjusted = holm([one.p for one in found])
        alarms += any(
            p < 0.05 and not one.change[1] <= 0 <= one.change[2]
            for one, p in zip(found, adjusted, strict=True)
        )
    return alarms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="of each case, in all rounds")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose names begin so")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    each, resamples = given.trials // given.rounds, given.resamples
    chosen = {n: make for n, make in cases().items() if n.startswith(tuple(given.only))}
    found: dict[tuple[str, int], list[Sample]] = {}
    result: dict[str, Any] = {
        "what": "coverage and size of paired comparisons",
        "resamples": resamples,
        "rows": {},
    }
    started = time.process_time()
    for turn in range(given.rounds):
        for name, make in chosen.items():
            case, result["rows"][name] = make(), {}
            for items in OF_A_TASK if isinstance(case, Tasks) else given.sizes:
                own = found.setdefault((name, items), [])
                own += drawn(case, name, items, trials(name, items, each), resamples, turn)
                row = result["rows"][name][str(items)] = measured(own, case.truth())
                shown = (f"{'-' if v is None else format(v, '.3f'):>9}" for v in row.values())
                print(name.ljust(40), str(items).rjust(4), *shown, flush=True)
        if given.only == [""]:
            _add_families(result, max(1, each // 10), resamples, turn)
        result["processor_seconds"] = round(time.process_time() - started)
        given.out.write_text(json.dumps(result | machine(), indent=1) + "\n", encoding="utf-8")


def _add_families(result: dict[str, Any], trials: int, resamples: int, turn: int) -> None:
    for name, case in families().items():
        for tests in _TESTS:
            for items in (20, 100):
                key = f"{name}, {tests} tests of {items} items"
                row = result.setdefault("families", {}).setdefault(key, {"trials": 0, "alarms": 0})
                row["trials"] += trials
                row["alarms"] += false_alarms(case, key, tests, items, trials, resamples, turn)


if __name__ == "__main__":
    main()
