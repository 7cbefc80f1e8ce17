"""Tuned models of several runs against that of the first, on the test items that both answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from brulee.data.json_text import parse_json
from brulee.evaluation import of_score
from brulee.evaluation.answers import clusters, shared
from brulee.evaluation.phrasings import by_phrasing, tables
from brulee.evaluation.stats import compare
from brulee.pipeline.comparing import adjusted, comparison, swaps
from brulee.reporting.results import Comparison, Results
from brulee.textfile import read_text

_RESAMPLES: Final = 2000


def against_first(
    folders: Sequence[Path], results: Sequence[Results]
) -> list[tuple[Comparison, ...]]:
    """Each further run minus the first, paired by item, for every score that both have.

    Scores that need a list of labels are left out, and so are runs without stored answers or
    without a common item. Runs on different files share the items whose prompts are equal too.
    """
    return [
        adjusted(list(_pairs(folders[0], results[0], folder, found)))
        for folder, found in zip(folders[1:], results[1:], strict=True)
    ]


def _pairs(a: Path, of_a: Results, b: Path, of_b: Results) -> Iterator[Comparison]:
    judged = {(pair.task, pair.metric) for pair in of_a.comparisons}
    keys: dict[str, list[str]] = {}
    for pair in of_b.comparisons:
        if (pair.task, pair.metric) in judged:
            keys.setdefault(pair.task, []).append(pair.metric)
    tests = swaps(_RESAMPLES, max(len(keys), *map(len, keys.values()), 0))
    same_rows = _read_same_rows(a, b)
    for task, asked in keys.items():
        name = f"{task.replace('/', '-')}.jsonl"
        sides = shared(a / "eval/tuned" / name, b / "eval/tuned" / name, same_rows)
        if sides[0]:
            parts = [by_phrasing(answers) for answers in sides]
            metrics = [found for key in asked if (found := of_score(key))]
            for key, metric, (one, other) in tables(parts, [metrics] * len(parts[0]), asked):
                of = clusters(one.answers)
                got = compare(
                    one.stats, other.stats, one.reduce, _RESAMPLES, clusters=of, swaps=tests
                )
                better = metric.higher_is_better(key)
                yield comparison(task, key, got, better, True, metric.descriptive)


def _read_same_rows(a: Path, b: Path) -> bool:
    """Whether two runs are known to be of the same files, whatever these are called."""
    of_a, of_b = (_digests(run / "manifest.json") for run in (a, b))
    return bool(of_a) and of_a == of_b


def _digests(manifest: Path) -> list[str]:
    if not manifest.is_file():
        return []
    return sorted(parse_json(read_text(manifest), manifest)["data"].values())
