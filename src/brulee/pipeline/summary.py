"""All measurements of a run, as one Results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brulee.evaluation import signatures
from brulee.evaluation.answers import Answer, clusters, grouped
from brulee.evaluation.phrasings import Table, by_phrasing, change, tables
from brulee.evaluation.stats import interval
from brulee.evaluation.tasks import worded
from brulee.evaluation.unended import is_unended
from brulee.pipeline.asked import wordings
from brulee.pipeline.comparing import adjusted, compared, phrasings, swaps
from brulee.pipeline.forgetting import forgotten, guard_scores, judged, suites_forgotten
from brulee.pipeline.mix import mix
from brulee.pipeline.origin import machine, versions
from brulee.pipeline.trained import Tuned
from brulee.reporting.results import (
    Base,
    Comparison,
    Environment,
    Forgetting,
    Lengths,
    Method,
    Phrasings,
    Results,
    Score,
    Start,
    Who,
)
from brulee.reporting.verdict import with_verdict

if TYPE_CHECKING:
    from brulee.pipeline.asked import Asked
    from brulee.pipeline.preparation import Prepared


@dataclass(frozen=True)
class Scored:
    """One model's answers by task and by guard, and the seconds they took."""

    tasks: dict[str, list[Answer]]
    guards: dict[str, list[Answer]]
    seconds: float


def summarise(prepared: Prepared, tuned: Tuned, before: Scored, after: Scored) -> Results:
    """Scores with intervals, paired comparisons, guards, costs, and the verdict."""
    resamples = prepared.recipe.evaluate.resamples
    each = [{key for m in own for key in m.keys} for own in prepared.metrics.values()]
    keys = max(map(len, each), default=1)
    tests = swaps(resamples, max(len(after.tasks), keys))
    tested = [
        found
        for asked in prepared.asked
        if asked.name in after.tasks
        for found in _of_test(prepared, asked, before, after, tests)
    ]
    scores = [score for one in tested for score in one.scores]
    comparisons = [one.comparison for one in tested]
    forgetting: list[Forgetting] = []
    guarded = swaps(resamples, len(prepared.guards))
    for name, guard in prepared.guards.items():
        answered = (before.guards[name], after.guards[name])
        scores += guard_scores(name, guard, *answered, resamples)
        forgetting.append(forgotten(name, guard, *answered, resamples, guarded))
    suites = suites_forgotten(prepared.guards, before.guards, after.guards, resamples)
    return with_verdict(
        Results(
            run=prepared.where.path.name,
            base=_base(prepared),
            method=_method(prepared),
            scores=tuple(scores),
            comparisons=adjusted(comparisons),
            forgetting=judged(forgetting) + judged(suites),
            cost=tuned.trained.cost.model_copy(
                update={"evaluation_seconds": before.seconds + after.seconds}
            ),
            training=tuned.trained.training,
            lengths=tuple(_lengths(prepared, "base", before) + _lengths(prepared, "tuned", after)),
            mixture=mix(prepared) if len(prepared.corpus.tasks) > 1 else (),
            groups=grouped(
                {
                    **{task: by_phrasing(found)[0] for task, found in before.tasks.items()},
                    **before.guards,
                }
            ),
            phrasings=adjusted([one.phrasings for one in tested if one.phrasings]),
            wordings=wordings(prepared.asked, prepared.corpus)
            | worded({name: guard.task for name, guard in prepared.guards.items()}),
            signatures=signatures(pair.metric for pair in comparisons),
            environment=Environment(versions=versions(), machine=machine()),
        )
    )


def _base(prepared: Prepared) -> Base:
    base, start = prepared.base, prepared.start
    return Base(
        name=base.name,
        digest=base.digest,
        quantised=base.quantised,
        rope_scaling=base.rope_scaling,
        languages=base.languages,
        start=Start(**start.record) if start else None,
    )


def _method(prepared: Prepared) -> Method:
    own = prepared.method
    return Method.model_validate({"name": own.name, "label": own.label(), **own.options()})


@dataclass(frozen=True)
class _Tested:
    """One score of one test, for both models."""

    scores: tuple[Score, Score]
    comparison: Comparison
    phrasings: Phrasings | None


def _of_test(
    prepared: Prepared, asked: Asked, before: Scored, after: Scored, tests: int
) -> Iterator[_Tested]:
    """Every score of a test; the bootstrap draws items with all their phrasings."""
    name, resamples = asked.name, prepared.recipe.evaluate.resamples
    trained = asked.test.path not in prepared.corpus.held_out
    parts = [by_phrasing(side.tasks[name]) for side in (before, after)]
    names = [answers[0].phrasing for answers in parts[0]]
    for key, metric, (base, tuned) in tables(parts, asked.metrics):
        of, better = clusters(base.answers), metric.higher_is_better(key)
        yield _Tested(
            (
                _score("base", name, key, base, resamples, of),
                _score("tuned", name, key, tuned, resamples, of),
            ),
            compared(name, key, metric, (base, tuned), resamples, tests, trained),
            phrasings(name, key, names, change(base, tuned, resamples, of, swaps=tests), better)
            if len(names) > 1
            else None,
        )


def _score(
    who: Who, task: str, key: str, of_side: Table, resamples: int, of: Sequence[str] | None
) -> Score:
    found = interval(of_side.stats, of_side.reduce, resamples, clusters=of)
    return Score(who=who, task=task, metric=key, **found._asdict())


def _lengths(prepared: Prepared, who: Who, scored: Scored) -> list[Lengths]:
    found = []
    tasks = prepared.corpus.tasks
    written = [one.name for one in prepared.asked if not tasks[one.test.path].plain]
    for task in (task for task in written if task in scored.tasks):
        answers = scored.tasks[task]
        words = sum(len(a.output.split()) for a in answers)
        wanted = sum(sum(len(r.split()) for r in a.references) / len(a.references) for a in answers)
        found.append(
            Lengths(
                who=who,
                task=task,
                mean_words=words / len(answers),
                ratio_to_reference=words / wanted if wanted else 0.0,
                answers=len(answers),
                unended=sum(map(is_unended, answers)),
            )
        )
    return found
