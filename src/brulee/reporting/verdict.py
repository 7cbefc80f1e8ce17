"""The sentence that says what a run gained, cost and forgot."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.reporting import phrasings, several_tasks, wording
from brulee.reporting.results import Comparison, Forgetting, Lengths, Results

_NAMED_GUARDS = 3
_LABELS = ("accuracy", "exact_match", "macro_f1", "matthews")  # of what is written
_RANKED = ("ranked_accuracy", "ranked_accuracy_norm")  # of the likeliest choice


def verdict(results: Results) -> str:
    """One sentence about the gain on the task or tasks, the training cost, every guard.

    A difference counts only if its interval excludes zero and p, corrected if there were several
    tests, is below 0.05; a guard that lost counts as forgotten whatever the task gained.
    """
    tasks = {pair.task for pair in results.comparisons}
    if len(tasks) > 1:
        gained = [several_tasks.sentence(results, _cost(results))]
    else:
        gained = [_main(results), *_contrary(results.comparisons), *_form(results.comparisons)]
    further = [*_unended(results.lengths), *phrasings.clauses(results)]
    parts = [*gained, *further, _guards(results.forgetting)]
    return "; ".join(parts) + "."


def with_verdict(results: Results) -> Results:
    """The same results with the verdict filled in."""
    return results.model_copy(update={"verdict": verdict(results)})


def _main(results: Results) -> str:
    method = wording.tuning(results)
    cost = _cost(results)
    if not results.comparisons:
        training = f" after {cost}" if cost else ""
        return (
            f"Nothing was measured of what {method} gained{training}: "
            "no test row was scored both before and after"
        )
    pair = results.comparisons[0]
    metric, task = wording.metric_name(pair.metric), pair.task
    evidence = (
        f"95% interval {wording.interval(pair)}, "
        f"{_yet(pair)}{wording.p_phrase(pair.p)}{_limits(pair, results.groups.get(task))}"
    )
    ending = f", {cost}" if cost else ""
    over = phrasings.over(results, task)
    task = f"{task}{over}," if over else task
    moved = pair.moved if pair.descriptive else pair.direction
    raised = wording.verb(pair, moved)
    change = wording.change(pair, moved, evidence)
    return f"{method} {raised} {metric} on {task} {change}{ending}"


def _yet(pair: Comparison) -> str:
    """A word where interval and p contradict each other, so that no change counts."""
    if wording.is_unknown(pair):
        return ""
    return "yet " if (pair.low * pair.high > 0) != (pair.p < 0.05) else ""


def _limits(pair: Comparison, groups: int | None) -> str:
    """The smallest detectable difference; "" if the test found a difference."""
    if pair.moved:
        return ""
    if pair.minimum_detectable is None:
        return f", on {wording.undetectable(pair, groups)}"
    n = pair.wins + pair.losses + pair.ties
    some = f"{n} items" if groups is None else wording.items(n, groups)
    return f", the least that {some} can show is {wording.detectable(pair.minimum_detectable)}"


def _cost(results: Results) -> str:
    cost = results.cost
    if cost.train_seconds <= 0:
        return ""
    share = cost.trainable_share
    what = f"{wording.percent(share)} of the parameters" if share is not None else "for"
    return f"training {what} {'in ' if share is not None else ''}" + wording.duration(
        cost.train_seconds
    )


def _contrary(comparisons: Sequence[Comparison]) -> list[str]:
    """A clause on further scores that got worse although the first did not."""
    if not comparisons or comparisons[0].direction < 0:
        return []
    first = comparisons[0]
    worse = [pair for pair in comparisons[1:] if pair.direction < 0]
    if not worse:
        return []
    named = ", ".join(
        f"{wording.metric_name(pair.metric)}"
        f"{'' if pair.task == first.task else f' on {pair.task}'} ({wording.difference(pair)})"
        for pair in worse
    )
    return [f"but {named} got worse"]


def _form(comparisons: Sequence[Comparison]) -> list[str]:
    """A clause on right answers gained that the likeliest choices do not show."""
    if not comparisons or comparisons[0].metric not in _LABELS or comparisons[0].direction <= 0:
        return []
    ranked = next((pair for pair in comparisons if pair.metric in _RANKED), None)
    if ranked is None or ranked.direction:
        return []
    evidence = f"{wording.difference(ranked)}, interval {wording.interval(ranked)}"
    unmoved = f"{wording.metric_name(ranked.metric)} did not measurably change ({evidence})"
    return [f"but {unmoved}, so that the gain may be one of form"]


def _unended(lengths: Sequence[Lengths]) -> list[str]:
    """A clause on answers that are empty because their reasoning was cut off."""
    found = []
    for who, when in (("base", "before"), ("tuned", "after")):
        own = [one for one in lengths if one.who == who]
        if unended := sum(one.unended for one in own):
            found.append(f"{unended} of {sum(one.answers for one in own)} {when}")
    if not found:
        return []
    return [f"but {' and '.join(found)} did not get past their thoughts, and count as empty"]


def _guards(guards: Sequence[Forgetting]) -> str:
    if not guards:
        return "forgetting was not measured"
    order = ("forgot", "unclear", "improved", "kept")
    ranked = sorted(guards, key=lambda guard: order.index(guard.kept))
    lost = sum(guard.kept == "forgot" for guard in ranked)
    named = ranked[: max(_NAMED_GUARDS, lost)]
    rest = len(ranked) - len(named)
    clauses = [_guard(guard) for guard in named]
    if rest:
        open_ = sum(guard.kept == "unclear" for guard in ranked[len(named) :])
        doubt = f", nor is one ruled out on {open_} of them" if open_ else ""
        clauses.append(f"no measurable loss on {rest} other guard{'s' if rest > 1 else ''}{doubt}")
    return "; ".join(clauses)


def _guard(guard: Forgetting) -> str:
    change = _change(guard)
    evidence = f"{change}, interval {wording.interval(guard)}"
    if guard.low * guard.high > 0 and not guard.direction:
        evidence += f", yet {wording.p_phrase(guard.corrected_p)}"
    if guard.kept == "forgot":
        return f"it forgot part of {guard.task} ({evidence})"
    if guard.kept == "improved":
        return f"{guard.task} got better ({evidence})"
    if guard.kept == "kept":
        return f"{guard.task} did not measurably change ({evidence})"
    if guard.low == guard.high:  # a single item or group, whose variance is unknown
        return f"{guard.task} was measured on one item or group alone ({change})"
    worst = guard.low if guard.higher_is_better else guard.high
    bound = wording.signed(worst, wording.places_of(guard))
    return f"{guard.task} did not measurably change ({evidence}: could be as bad as {bound})"


def _change(guard: Forgetting) -> str:
    """A guard's difference, with the metric's name if lower is better: a + is then a loss."""
    change = wording.difference(guard)
    return change if guard.higher_is_better else f"{change} {wording.metric_name(guard.metric)}"
