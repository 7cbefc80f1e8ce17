"""Samples during training: completions of validation rows, scored and logged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from brulee.data.task import Item
from brulee.evaluation.answering import how_calls_are_written
from brulee.evaluation.answers import Answer, score, statistics_array
from brulee.evaluation.base import Metric
from brulee.inference.session import open_engine
from brulee.methods import Attached
from brulee.models.context import context_length
from brulee.pipeline.generating import sampling_of
from brulee.pipeline.preparation import Prepared
from brulee.training.trainer import Glimpse

_SHOWN = 3  # completions whose texts go to events.jsonl


def glimpse(prepared: Prepared, attached: Attached) -> Callable[[], Glimpse] | None:
    """A function that completes the first validation rows, taken from the tasks in turn.

    None if the recipe does not request it.
    """
    train = prepared.recipe.train
    if train.generate_every is None:
        return None
    spec = prepared.recipe.evaluate
    encoder = prepared.encoder_for(attached)
    context = context_length(prepared.base.model)
    reserved = attached.reserved + spec.generation.max_new_tokens
    room = None if context is None else context - reserved
    # A task may have fewer validation rows than another, or none.
    asked = [p for p in prepared.corpus.trained if not prepared.corpus.tasks[p].plain]
    found = itertools.zip_longest(*(_items(prepared, p, room) for p in asked))
    there = (one for turn in found for one in turn if one is not None)
    items = list(itertools.islice(there, train.generate_rows))
    # Only generated text is scored here; choices are ranked before and after training.
    metrics = {
        path: tuple(metric for metric in own if metric.asks == "text")
        for path, own in prepared.metrics.items()
    }
    asked_for = sampling_of(prepared.recipe, prepared.base.tokenizer)
    sampling = replace(asked_for, temperature=0.0, beams=1)
    thinking = sampling.form is None
    prompts = [encoder.encode_question(item.asked, thinking=thinking) for _, item in items]
    calls = {path: how_calls_are_written(encoder, own) for path, own in metrics.items()}

    def look() -> Glimpse:
        engine = open_engine(prepared.base, encoder, spec.batch_tokens, attached)
        outputs = engine.generate(prompts, sampling)
        answers = [
            score(
                item,
                encoder.parted(ids, thinking=thinking)[1],
                len(ids),
                metrics[path],
                path,
                calls=calls[path],
            )
            for (path, item), ids in zip(items, outputs, strict=True)
        ]
        samples = [
            {"prompt": a.prompt, "output": a.output, "reference": a.references[0]}
            for a in answers[:_SHOWN]
        ]
        return Glimpse(_means(answers, metrics), samples)

    return look


def _items(prepared: Prepared, path: str, room: int | None) -> list[tuple[str, Item]]:
    task = prepared.corpus.tasks[path]
    rows = task.validation[: prepared.recipe.train.generate_rows]
    made = (task.item(row, prepared.encoder, room) for row in rows)
    return [(path, item) for item in made if item is not None]


def _means(answers: Sequence[Answer], metrics: dict[str, tuple[Metric, ...]]) -> dict[str, float]:
    """Each score over the answers of all tasks that have it."""
    found: dict[str, float] = {}
    for path in dict.fromkeys(a.task for a in answers):
        own = [a for a in answers if a.task == path]
        for metric in metrics[path]:
            for key in metric.keys:
                stats = statistics_array(own, key)
                if not len(stats):  # none of the few items has this score
                    continue
                name = key if len(metrics) == 1 else f"{path}/{key}"
                found[name] = float(metric.reduce(key, stats.mean(axis=0), len(stats)))
    return found
