"""Base against tuned as results.json keeps it: what is better, and p-values for several tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from brulee.evaluation import stats
from brulee.evaluation.phrasings import Change
from brulee.reporting.results import Comparison, Forgetting, Phrasings, Spread

Pair = TypeVar("Pair", Comparison, Forgetting, Phrasings)

_SWAPS_A_TEST: Final = 100


def comparison(
    task: str, metric: str, found: stats.Comparison, higher_is_better: bool, trained: bool
) -> Comparison:
    """A comparison whose wins are items that got better, whichever way the score points."""
    values = found._asdict()
    if not higher_is_better:
        values["wins"], values["losses"] = found.losses, found.wins
    return Comparison(
        task=task, metric=metric, higher_is_better=higher_is_better, trained=trained, **values
    )


def phrasings(
    task: str, metric: str, names: Sequence[str], found: Change, higher_is_better: bool
) -> Phrasings:
    """The scores under each phrasing, before and after, and how the spread over them changed."""
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
    """How many swaps p needs so that it can count among so many tests.

    It is never below one in their number, and the correction multiplies it by up to `tests`.
    """
    return max(resamples, _SWAPS_A_TEST * tests)


def adjusted(comparisons: Sequence[Pair]) -> tuple[Pair, ...]:
    """The comparisons with `p_holm` where there are several tests.

    The first scores of all tasks are corrected together, so are the second ones, and so on: tasks
    with the same metrics are thus corrected metric by metric. Of one task the first score is the
    one that was asked about, and the further ones are corrected together. Changes of the spread
    over phrasings are corrected among themselves: whether scores changed is another question, which
    is not to be answered less surely for this one.
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
