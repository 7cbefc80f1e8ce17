"""Comparisons of base and tuned for results.json: wins and losses, and p-values corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from brulee.evaluation import stats
from brulee.evaluation.answers import clusters
from brulee.evaluation.base import Metric
from brulee.evaluation.phrasings import Change, Table
from brulee.reporting.results import Comparison, Forgetting, Phrasings, Spread

Pair = TypeVar("Pair", Comparison, Forgetting, Phrasings)

_SWAPS_A_TEST: Final = 100


def compared(
    task: str,
    key: str,
    metric: Metric,
    sides: Sequence[Table],
    resamples: int,
    tests: int,
    trained: bool,
) -> Comparison:
    """One score of two models, the second minus the first; `tests` is the number of swaps."""
    one, other = sides
    of = clusters(one.answers)
    found = stats.compare(one.stats, other.stats, one.reduce, resamples, clusters=of, swaps=tests)
    return comparison(task, key, found, metric.higher_is_better(key), trained, metric.descriptive)


def comparison(
    task: str,
    metric: str,
    found: stats.Comparison,
    higher_is_better: bool,
    trained: bool,
    descriptive: bool = False,
) -> Comparison:
    """A comparison whose wins are items that got better, whether or not higher is better."""
    values = found._asdict()
    if not higher_is_better:
        values["wins"], values["losses"] = found.losses, found.wins
    return Comparison(
        task=task,
        metric=metric,
        higher_is_better=higher_is_better,
        descriptive=descriptive,
        trained=trained,
        **values,
    )


def phrasings(
    task: str, metric: str, names: Sequence[str], found: Change, higher_is_better: bool
) -> Phrasings:
    """The scores under each phrasing, before and after, and the change of their spread."""
    return Phrasings(
        task=task,
        metric=metric,
        names=tuple(names),
        base=Spread(**found.base._asdict()),
        tuned=Spread(**found.tuned._asdict()),
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=found.p,
        higher_is_better=higher_is_better,
    )


def swaps(resamples: int, tests: int) -> int:
    """The number of swaps with which p can still be significant after correction for `tests`.

    p is never below 1 / swaps, and the correction multiplies it by up to `tests`.
    """
    return max(resamples, _SWAPS_A_TEST * tests)


def adjusted(comparisons: Sequence[Pair]) -> tuple[Pair, ...]:
    """The comparisons with `p_holm`, if there are several tests.

    The first scores of all tasks are corrected together, then the second ones, and so on: tasks
    with the same metrics are corrected metric by metric. With a single task, its first score is
    the main one, and the others are corrected together. Changes of the spread over phrasings are
    corrected separately, so that the tests of the scores lose no power because of them.
    """
    families: dict[int, list[int]] = {}
    seen: dict[str, int] = {}
    several = len({pair.task for pair in comparisons}) > 1
    for i, pair in enumerate(comparisons):
        seen[pair.task] = seen.get(pair.task, 0) + 1
        place = seen[pair.task]
        families.setdefault(place if several else min(place, 2), []).append(i)
    found = list(comparisons)
    for members in families.values():
        if len(members) > 1:
            each = [1.0 if (p := found[i].p) is None else p for i in members]
            for i, corrected in zip(members, stats.holm(each), strict=True):
                found[i] = found[i].model_copy(update={"p_holm": corrected})
    return tuple(found)
