"""A run's gains over several tasks, in one clause that counts them."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.evaluation.stats import holm
from brulee.reporting import wording
from brulee.reporting.results import Comparison, Results

_NAMED = 3


def sentence(results: Results, cost: str) -> str:
    """How many tasks got better or worse by their first score, with held-out tasks separate.

    Descriptive scores come first only where a task has no others, and are not called better.
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
    worse = [pair for pair in many if counted[pair.task] < 0 and not pair.descriptive]
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
    directions = _directions(firsts)
    judged = [directions[pair.task] for pair in firsts if not pair.descriptive]
    found = [(f"{judged.count(1)} of {len(firsts)}", "tasks improved")] if judged else []
    if len({pair.metric for pair in firsts}) == 1:
        found.append((_mean(firsts), f"{wording.metric_name(firsts[0].metric)} on average"))
    return found


def _firsts(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The first score of each task, of those of which one direction is better, if it has any."""
    first: dict[str, Comparison] = {}
    for pair in comparisons:
        if first.setdefault(pair.task, pair).descriptive and not pair.descriptive:
            first[pair.task] = pair
    return list(first.values())


def _adjusted(firsts: Sequence[Comparison]) -> dict[str, float]:
    """The corrected p of each task."""
    return dict(zip([pair.task for pair in firsts], holm([p.p for p in firsts]), strict=True))


def _directions(firsts: Sequence[Comparison]) -> dict[str, int]:
    """1 if a task got better, -1 if worse, 0 if neither; of a descriptive score, up or down."""
    adjusted = _adjusted(firsts)
    moved = {pair.task: pair.moved if pair.descriptive else pair.direction for pair in firsts}
    return {task: way if adjusted[task] < 0.05 else 0 for task, way in moved.items()}


def _mean(pairs: Sequence[Comparison]) -> str:
    """The mean difference; for an error metric, negative is better, as for single tasks."""
    mean = sum(pair.difference for pair in pairs) / len(pairs)
    return wording.signed(mean, wording.places(mean))


def _contrary(comparisons: Sequence[Comparison], counted: dict[str, int]) -> list[str]:
    """Further scores that got worse on tasks whose first score did not, counted by metric."""
    first = {pair.task: pair.metric for pair in _firsts(comparisons)}
    tasks: dict[str, list[int]] = {}
    for pair in comparisons:
        if pair.metric != first[pair.task]:
            reported = counted[pair.task] < 0
            tasks.setdefault(pair.metric, []).append(0 if reported else pair.direction)
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
        return f"{_count(pairs, directions)} {kind}"
    (pair,) = pairs
    metric, direction = wording.metric_name(pair.metric), directions[pair.task]
    p = wording.p_phrase(adjusted[pair.task])
    change = wording.change(
        pair, direction, f"95% interval {wording.interval(pair)}, corrected {p}"
    )
    return f"{wording.verb(pair, direction)} {metric} on {pair.task} {change}, the only task {kind}"


def _count(pairs: Sequence[Comparison], directions: dict[str, int]) -> str:
    same = len({pair.metric for pair in pairs}) == 1
    by = f"; {wording.metric_name(pairs[0].metric)} {_mean(pairs)} on average" if same else ""
    judged = [directions[pair.task] for pair in pairs if not pair.descriptive]
    if not judged:
        return f"{_moves(pairs, directions)}{by})"
    better, worse, unclear = (judged.count(way) for way in (1, -1, 0))
    other = len(pairs) - len(judged)
    further = f", {other} not judged" if other else ""
    return (
        f"improved {better} of {len(pairs)} tasks ({worse} worse, {unclear} unclear{further}{by})"
    )


def _moves(pairs: Sequence[Comparison], directions: dict[str, int]) -> str:
    """On how many tasks descriptive scores rose or fell."""
    names = dict.fromkeys(wording.metric_name(pair.metric) for pair in pairs)
    moves = [directions[pair.task] for pair in pairs]
    up, down, unclear = (moves.count(way) for way in (1, -1, 0))
    counted = f"{up + down} of {len(pairs)} tasks"
    return f"changed {' or '.join(names)} on {counted} ({up} up, {down} down, {unclear} unclear"
