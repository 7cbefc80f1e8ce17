"""A run's gains over several tasks, in one clause that counts them."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.evaluation.stats import holm
from brulee.reporting import wording
from brulee.reporting.results import Comparison, Results

_NAMED = 3


def sentence(results: Results, cost: str) -> str:
    """How many tasks got better or worse by their first score, with held-out tasks separate.

    A single task, trained on or held out, is not counted but told as in a run of one task.
    p-values are corrected for the number of tasks (Holm 1979, "A simple sequentially rejective
    multiple test procedure").
    """
    firsts = _firsts(results.comparisons)
    adjusted = _adjusted(firsts)
    counted = _directions(firsts)
    trained = [pair for pair in firsts if pair.trained]
    held_out = [pair for pair in firsts if not pair.trained]
    clauses = []
    if trained:
        ending = f", {cost}" if cost else ""
        clauses.append(f"{_group(trained, counted, adjusted, 'trained on')}{ending}")
    if held_out:
        clauses.append(_group(held_out, counted, adjusted, "held out"))
    many = [pair for pairs in (trained, held_out) if len(pairs) > 1 for pair in pairs]
    worse = [pair for pair in many if counted[pair.task] < 0]
    if worse:
        named = ", ".join(
            f"{pair.task} ({wording.metric_name(pair.metric)} {wording.difference(pair)})"
            for pair in worse[:_NAMED]
        )
        more = f" and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
        clauses.append(f"worse: {named}{more}")
    clauses += _contrary(results.comparisons, counted)
    return f"{wording.tuning(results)} " + "; ".join(clauses)


def figures(results: Results) -> list[tuple[str, str]]:
    """The headline numbers: tasks that got better, and the mean change if their metrics match."""
    firsts = _firsts(results.comparisons)
    better = sum(direction > 0 for direction in _directions(firsts).values())
    found = [(f"{better} of {len(firsts)}", "tasks improved")]
    if len({pair.metric for pair in firsts}) == 1:
        found.append((_mean(firsts), f"{wording.metric_name(firsts[0].metric)} on average"))
    return found


def _firsts(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The first score of each task."""
    first: dict[str, Comparison] = {}
    for pair in comparisons:
        first.setdefault(pair.task, pair)
    return list(first.values())


def _adjusted(firsts: Sequence[Comparison]) -> dict[str, float]:
    """The corrected p of each task."""
    return dict(zip([pair.task for pair in firsts], holm([p.p for p in firsts]), strict=True))


def _directions(firsts: Sequence[Comparison]) -> dict[str, int]:
    adjusted = _adjusted(firsts)
    return {pair.task: pair.direction if adjusted[pair.task] < 0.05 else 0 for pair in firsts}


def _mean(pairs: Sequence[Comparison]) -> str:
    """The mean difference; for an error metric, negative is better, as for single tasks."""
    mean = sum(pair.difference for pair in pairs) / len(pairs)
    return wording.signed(mean, wording.places(mean))


def _contrary(comparisons: Sequence[Comparison], counted: dict[str, int]) -> list[str]:
    """Further scores that got worse on tasks whose first score did not, counted by metric."""
    seen: set[str] = set()
    tasks: dict[str, list[int]] = {}
    for pair in comparisons:
        if pair.task in seen:
            tasks.setdefault(pair.metric, []).append(pair.direction)
            if counted[pair.task] < 0:
                tasks[pair.metric][-1] = 0  # already reported for the task
        seen.add(pair.task)
    worse = {metric: found for metric, found in tasks.items() if -1 in found}
    named = ", ".join(
        f"{wording.metric_name(metric)} on {found.count(-1)} of {len(found)}"
        for metric, found in worse.items()
    )
    return [f"but got worse: {named}"] if worse else []


def _group(
    pairs: Sequence[Comparison], directions: dict[str, int], adjusted: dict[str, float], kind: str
) -> str:
    """A clause on the tasks that were trained on, or on those that were held out."""
    if len(pairs) > 1:
        return f"improved {_count(pairs, directions)} {kind}"
    (pair,) = pairs
    metric, direction = wording.metric_name(pair.metric), directions[pair.task]
    p = wording.p_phrase(adjusted[pair.task])
    change = wording.change(
        pair, direction, f"95% interval {wording.interval(pair)}, corrected {p}"
    )
    return f"{wording.verb(pair, direction)} {metric} on {pair.task} {change}, the only task {kind}"


def _count(pairs: Sequence[Comparison], directions: dict[str, int]) -> str:
    found = [directions[pair.task] for pair in pairs]
    better, worse = found.count(1), found.count(-1)
    same = len({pair.metric for pair in pairs}) == 1
    by = f"; {wording.metric_name(pairs[0].metric)} {_mean(pairs)} on average" if same else ""
    return f"{better} of {len(pairs)} tasks ({worse} worse, {found.count(0)} unclear{by})"
