"""Everything measured in a run, as one Results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brulee.evaluation import bleu, chrf, ter
from brulee.evaluation.answers import Answer, clusters, grouped, statistics_array
from brulee.evaluation.base import Metric
from brulee.evaluation.stats import compare, interval
from brulee.pipeline.comparing import adjusted, comparison, swaps
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
    Results,
    Score,
    Who,
)
from brulee.reporting.verdict import with_verdict

if TYPE_CHECKING:
    from brulee.pipeline.preparation import Prepared

Reduce = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Scored:
    """One model's answers by task and by guard, and the seconds they took."""

    tasks: dict[str, list[Answer]]
    guards: dict[str, list[Answer]]
    seconds: float


def summarise(prepared: Prepared, tuned: Tuned, before: Scored, after: Scored) -> Results:
    """Scores with intervals, paired comparisons, guards and costs, and the verdict on them."""
    resamples = prepared.recipe.evaluate.resamples
    scores: list[Score] = []
    comparisons: list[Comparison] = []
    keys = max((len(_by_key(metrics)) for metrics in prepared.metrics.values()), default=1)
    tests = swaps(resamples, max(len(after.tasks), keys))
    for test in prepared.corpus.tests:
        if test.name not in after.tasks:
            continue
        trained = test.path not in prepared.corpus.held_out
        for key, metric in _by_key(prepared.metrics[test.path]).items():
            reduce = partial(metric.reduce, key)
            base_NS = metric.join(key, statistics_array(before.tasks[test.name], key))
            tuned_NS = metric.join(key, statistics_array(after.tasks[test.name], key))
            of = clusters(before.tasks[test.name])
            scores.append(_score("base", test.name, key, base_NS, reduce, resamples, of))
            scores.append(_score("tuned", test.name, key, tuned_NS, reduce, resamples, of))
            found = compare(base_NS, tuned_NS, reduce, resamples, clusters=of, swaps=tests)
            better = metric.higher_is_better(key)
            comparisons.append(comparison(test.name, key, found, better, trained))
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
            base=Base(
                name=prepared.base.name,
                digest=prepared.base.digest,
                quantised=prepared.base.quantised,
            ),
            method=Method.model_validate(
                {"name": prepared.method.name, **prepared.method.options()}
            ),
            scores=tuple(scores),
            comparisons=adjusted(comparisons),
            forgetting=judged(forgetting) + judged(suites),
            cost=tuned.trained.cost.model_copy(
                update={"evaluation_seconds": before.seconds + after.seconds}
            ),
            training=tuned.trained.training,
            lengths=tuple(_lengths("base", before) + _lengths("tuned", after)),
            mixture=mix(prepared) if len(prepared.corpus.tasks) > 1 else (),
            groups=grouped({**before.tasks, **before.guards}),
            signatures=_signatures(comparisons),
            environment=Environment(versions=versions(), machine=machine()),
        )
    )


def _by_key(metrics: Sequence[Metric]) -> dict[str, Metric]:
    return {key: metric for metric in metrics for key in metric.keys}


def _signatures(comparisons: Sequence[Comparison]) -> dict[str, str]:
    signatures = {"bleu": bleu.signature, "chrf": chrf.signature, "ter": ter.signature}
    measured = dict.fromkeys(pair.metric for pair in comparisons)
    return {key: signatures[key]() for key in measured if key in signatures}


def _score(
    who: Who,
    task: str,
    key: str,
    stats_NS: Any,
    reduce: Reduce,
    resamples: int,
    of: Sequence[str] | None,
) -> Score:
    found = interval(stats_NS, reduce, resamples, clusters=of)
    return Score(who=who, task=task, metric=key, **found._asdict())


def _lengths(who: Who, scored: Scored) -> list[Lengths]:
    found = []
    for task, answers in scored.tasks.items():
        words = sum(len(a.output.split()) for a in answers)
        wanted = sum(sum(len(r.split()) for r in a.references) / len(a.references) for a in answers)
        found.append(
            Lengths(
                who=who,
                task=task,
                mean_words=words / len(answers),
                ratio_to_reference=words / wanted if wanted else 0.0,
            )
        )
    return found
