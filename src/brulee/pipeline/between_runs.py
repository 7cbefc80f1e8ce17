"""Tuned models of several runs against that of the first, on the test items that both answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from brulee.evaluation import of_score
from brulee.evaluation.answers import Answer, shared
from brulee.evaluation.phrasings import by_phrasing, tables
from brulee.pipeline.comparing import adjusted, compared, swaps
from brulee.pipeline.folder import manifest_of
from brulee.reporting.results import Comparison, Results

_RESAMPLES: Final = 2000
_Digests = Mapping[str, str]  # of data files, by their names


def against_first(
    folders: Sequence[Path], results: Sequence[Results]
) -> list[tuple[Comparison, ...]]:
    """Each further run minus the first, paired by item, for every score that both have.

    Answers are to the same item if they have its id, phrasing and references in common, and their
    prompts are equal or their rows are from equal files: numbers and labels alone recur in other
    data. Scores that need a list of labels are left out, and so are runs without stored answers or
    without a common item.
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
    files = [manifest_of(folder).get("data", {}) for folder in (a, b)]
    tests = swaps(_RESAMPLES, max(len(keys), *map(len, keys.values()), 0))
    for task, asked in keys.items():
        name = f"{task.replace('/', '-')}.jsonl"
        sides = _of_one_row(*shared(a / "eval/tuned" / name, b / "eval/tuned" / name), *files)
        if sides[0]:
            parts = [by_phrasing(answers) for answers in sides]
            metrics = [found for key in asked if (found := of_score(key))]
            for key, metric, both in tables(parts, [metrics] * len(parts[0]), asked):
                yield compared(task, key, metric, both, _RESAMPLES, tests, True)


def _of_one_row(
    a: Sequence[Answer], b: Sequence[Answer], files_a: _Digests, files_b: _Digests
) -> tuple[list[Answer], list[Answer]]:
    """The pairs of answers that are to the same row, under all phrasings if there are several."""
    pairs = [
        (one, other)
        for one, other in zip(a, b, strict=True)
        if one.prompt == other.prompt or _file(one, files_a) == _file(other, files_b) != ""
    ]
    counts = Counter(one.id for one, _ in pairs)
    several = max(counts.values(), default=0) > 1
    phrasings = len({one.phrasing for one, _ in pairs}) if several else 1
    pairs = [(one, other) for one, other in pairs if counts[one.id] == phrasings]
    return [one for one, _ in pairs], [other for _, other in pairs]


def _file(answer: Answer, files: _Digests) -> str:
    """The digest of the file that an answer's row is from; "" if unknown."""
    named = [file for file in files if answer.place.startswith(file)]
    return files[max(named, key=len)] if named else ""
