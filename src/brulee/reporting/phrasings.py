"""Scores over phrasings, in words and as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.evaluation.tasks import UNDER
from brulee.reporting import wording
from brulee.reporting.results import Phrasings, Results, Spread

HEADS = ("Worst", "Quartiles", "Median", "Best", "Deviation", "Spread")


def firsts(results: Results) -> list[Phrasings]:
    """The first score over phrasings of each task that has one."""
    first: dict[str, Phrasings] = {}
    for one in results.phrasings:
        first.setdefault(one.task, one)
    return list(first.values())


def over(results: Results, task: str) -> str:
    """`, mean of 7 phrasings` if a task's scores are over several, else ""."""
    count = results.over(task)
    return f", mean of {count} phrasings" if count > 1 else ""


def asked_in(results: Results, task: str) -> tuple[str, ...]:
    """The phrasings that a task's scores average over; () if there is only one.

    For a suite's average, the phrasings of each of its tasks.
    """
    if results.suite is None or "phrasings" not in results.suite.changed:
        return next((one.names for one in results.phrasings if one.task == task), ())
    each: dict[str, dict[str, None]] = {}
    for score in results.scores:
        _, under, name = score.metric.partition(UNDER)
        if under:
            each.setdefault(score.task, {})[name] = None
    if task in each:
        return tuple(each[task])
    return tuple(f"{of}: {name}" for of, names in each.items() for name in names)


def marks(results: Sequence[Results], task: str) -> list[str]:
    """` (A)`, ` (B)` ... for each run, one letter per set of phrasings that scored the task.

    "" for a run with one phrasing, and for all runs if their phrasings are the same.
    """
    names = [frozenset(asked_in(run, task)) for run in results]
    found = list(dict.fromkeys(filter(None, names)))
    if len(found) < 2:
        return [""] * len(results)
    return [f" ({_letter(found.index(own))})" if own else "" for own in names]


def unlike(results: Sequence[Results], task: str) -> str:
    """A legend of the phrasings behind each letter of `marks`; "" if there are none."""
    marked = zip(marks(results, task), results, strict=True)
    named = {mark: asked_in(run, task) for mark, run in reversed(list(marked)) if mark}
    each = (f"{mark.strip(' ()')}: {', '.join(named[mark])}" for mark in sorted(named, key=_order))
    return f"{task} was scored in different phrasings. {'; '.join(each)}." if named else ""


def texts_of(results: Results, task: str) -> str:
    """The digest of a task's item texts, "" if the file has none.

    For a suite's average, the digests of all its tasks.
    """
    labels = results.suite.labels if results.suite else {}
    if task in results.wordings or task not in {name.rpartition(" ")[0] for name in labels}:
        return results.wordings.get(task, "")
    return " ".join(f"{of}:{digest}" for of, digest in sorted(results.wordings.items()))


def reworded(results: Sequence[Results], task: str) -> str:
    """Which runs used different item texts for a task, "" if none are known to.

    It compares only runs over phrasings of the same names; `marks` distinguishes the others.
    """
    alike: dict[frozenset[str], dict[str, list[str]]] = {}
    for run in results:
        if own := texts_of(run, task):
            of = alike.setdefault(frozenset(asked_in(run, task)), {})
            of.setdefault(own, []).append(run.run)
    told = [" | ".join(map(", ".join, of.values())) for of in alike.values() if len(of) > 1]
    if not told:
        return ""
    return (
        f"{task} was asked in different texts (templates, answer choices, number of examples): "
        f"{'; '.join(told)}."
    )


def _letter(number: int) -> str:
    """A, B ... Z, A1, B1 ..."""
    return f"{chr(ord('A') + number % 26)}{number // 26 or ''}"


def _order(mark: str) -> tuple[int, str]:
    return len(mark), mark


def cells(side: Spread, higher_is_better: bool) -> list[str]:
    """A model's scores over phrasings, as cells under HEADS."""
    ends = (0.0, 1.0) if higher_is_better else (1.0, 0.0)
    worst, best, low, median, high = (
        wording.fixed(side.at(share)) for share in (*ends, 0.25, 0.5, 0.75)
    )
    spread = [
        wording.fixed(value, wording.places(value)) for value in (side.deviation, side.spread)
    ]
    return [worst, f"{low} to {high}", median, best, *spread]


def changed(one: Phrasings) -> str:
    """`0.09 → 0.01, interval of the change -0.11 to -0.05, p = 0.002`; p only if known."""
    before, after = one.base.spread, one.tuned.spread
    decimals = wording.places(before, after, one.difference, one.low, one.high)
    low, high = (wording.signed(value, decimals) for value in (one.low, one.high))
    p = "" if one.corrected_p is None else f", {wording.p_phrase(one.corrected_p)}"
    return (
        f"{wording.fixed(before, decimals)} → {wording.fixed(after, decimals)}, interval of the "
        f"change {low} to {high}{p}"
    )


def clause(one: Phrasings) -> str:
    """Whether the phrasing of a task now matters less or more, with the evidence."""
    said = {
        -1: f"the phrasing of {one.task} matters less",
        0: f"no measurable change in how much the phrasing of {one.task} matters",
        1: f"the phrasing of {one.task} matters more",
    }
    untested = f"whether the phrasing of {one.task} matters less or more was not tested"
    what = untested if one.p is None else said[one.direction]
    return f"{what} (spread over {len(one.names)}: {changed(one)})"


def clauses(results: Results, most: int = 2) -> list[str]:
    """A clause for each of the first `most` tasks over phrasings."""
    return [clause(one) for one in firsts(results)[:most]]


def rows(results: Results, every: bool = True) -> list[tuple[str, str, Sequence[str]]]:
    """Rows before and after of each score over phrasings: the task, the label, the cells.

    Without `every`, only of each task's first score. The task is "" if there is only one.
    """
    tasks = {pair.task for pair in results.comparisons}
    found: list[tuple[str, str, Sequence[str]]] = []
    for one in results.phrasings if every else firsts(results):
        name = wording.metric_name(one.metric)
        task = one.task if len(tasks) > 1 else ""
        found.append((task, f"{name} before", cells(one.base, one.higher_is_better)))
        found.append((task, f"{name} after", cells(one.tuned, one.higher_is_better)))
    return found
