"""`brulee score`: score given texts, without a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Generic, NamedTuple, TypeVar

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json, print_table
from brulee.cli.records import read_records, text_lists, texts
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.evaluation import Array, Metric
    from brulee.evaluation.stats import Interval

Value = TypeVar("Value")
_WORTH_A_BAR: Final = 2_000  # items


class Placed(NamedTuple, Generic[Value]):
    """A value of a file, and its place there, for messages."""

    place: str
    value: Value


def score(
    predictions: Annotated[
        Path,
        typer.Option(help='.txt, or .jsonl of strings or {"prediction" | "output" | "text": ...}.'),
    ],
    references: Annotated[
        Path,
        typer.Option(help='.txt, or .jsonl of strings, lists or {"references" | "reference": ..}.'),
    ],
    sources: Annotated[
        Path | None,
        typer.Option(
            help="The texts that were summarised, for faithfulness; same formats as references."
        ),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Names, separated by commas: rouge, rougeL:recall, bleu, chrf ...")
    ] = "rouge,bleu",
    labels: Annotated[
        str | None, typer.Option(help="All labels of a classification, separated by commas.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="The group of each text, such as its source or customer: texts of a group are "
            'not independent. .txt, or .jsonl of strings or {"group": ...}; an empty one '
            "is a group of one."
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 2000,
    seed: options.Seed = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score texts against references, without a model.

    Every score has a 95% interval.
    """
    from brulee.evaluation import LABELLED, metric
    from brulee.evaluation.scripts import unread

    progress.enable(not quiet)
    known = _names(labels) if labels else None
    for name in _names(metrics):
        if known is None and name in LABELLED:
            raise InputError(f"metric {name} needs --labels, for instance --labels yes,no.")
    measures = [metric(name, known) for name in _names(metrics)]
    if not measures:
        raise InputError("--metrics names none; for instance: --metrics rouge,bleu.")
    predicted = _predicted(predictions)
    right = _matching(predictions, predicted, references, "reference")
    wanted = {"references": right, "calls": right}
    if sources:
        wanted["source"] = _matching(predictions, predicted, sources, "source")
    if said := unread(measures, (text for one in wanted["references"] for text in one.value)):
        print(said, file=sys.stderr)
    of = _groups(_matching(predictions, predicted, groups, "group")) if groups else None
    scores: dict[str, Interval] = {}
    for measure in measures:
        if measure.asks == "choices":
            raise InputError(
                f"metric {measure.keys[0]} asks a model for the likeliest answer choice, which "
                "texts alone do not show; use it in a recipe's metrics."
            )
        if measure.asks == "likelihood":
            raise InputError(
                f"metric {measure.keys[0]} asks a model how likely a text is, which texts alone "
                "do not show; in a recipe, plain text is measured by it."
            )
        if measure.against not in wanted:
            raise InputError(
                f"metric {measure.keys[0]} needs --sources, the texts that were summarised."
            )
        scores |= _score(measure, predicted, wanted[measure.against], resamples, seed, of)
    count = len(set(of)) if of else None
    if as_json:
        found = [{"metric": key, **s._asdict()} for key, s in scores.items()]
        print_json({"scores": found} | ({"groups": count} if of else {}))
    else:
        # `count` covers all texts, so it holds only for scores over all of them.
        each = {key: count if s.n == len(predicted) else None for key, s in scores.items()}
        shown = [(key, *_cells(s, each[key])) for key, s in scores.items()]
        print_table(["metric", "score", "95% interval", "items"], shown)


def _predicted(file: Path) -> list[Placed[str]]:
    records = read_records(file)
    found = texts(records, ["prediction", "output", "text"])
    return [Placed(r.place, text) for r, text in zip(records, found, strict=True)]


def _matching(
    predictions: Path, predicted: list[Placed[str]], file: Path, key: str
) -> list[Placed[list[str]]]:
    """The texts of another file, which must have as many as there are predictions."""
    records = read_records(file)
    found = text_lists(records, [f"{key}s", key])
    if len(predicted) != len(found):
        raise InputError(
            f"{predictions} holds {len(predicted)} texts and {file} holds {len(found)}; "
            "line N of one must belong to line N of the other."
        )
    return [Placed(r.place, several) for r, several in zip(records, found, strict=True)]


def _score(
    measure: Metric,
    predictions: list[Placed[str]],
    against: list[Placed[list[str]]],
    resamples: int,
    seed: int,
    of: list[str] | None,
) -> dict[str, Interval]:
    from functools import partial

    import numpy as np

    from brulee.evaluation.stats import interval

    items, scored = [], ", ".join(measure.keys)
    with progress.bar(f"Scoring {scored}", len(predictions), "items", _WORTH_A_BAR) as bar:
        for one, right in zip(predictions, against, strict=True):
            items.append(_statistics(measure, one, right))
            bar.advance()
    found = {}
    with progress.waiting(f"Drawing items anew, {resamples:,} times"):
        for key in measure.keys:
            having = [i for i, item in enumerate(items) if key in item]
            if not having:
                continue
            stats_NS = measure.join(key, np.array([items[i][key] for i in having]))
            own, reduce = [of[i] for i in having] if of else None, partial(measure.reduce, key)
            found[key] = interval(stats_NS, reduce, resamples, seed, clusters=own)
    return found


def _groups(named: list[Placed[list[str]]]) -> list[str]:
    """The group of each text; a text without a group's name is its own group."""
    return [f"group {one.value[0]}" if one.value[0] else one.place for one in named]


def _statistics(
    measure: Metric, prediction: Placed[str], against: Placed[list[str]]
) -> dict[str, Array]:
    """A metric's statistics of one item; an error names the lines of both texts."""
    try:
        return measure.statistics(prediction.value, against.value)
    except InputError as error:
        raise InputError(f"{prediction.place}, and {against.place}: {error}") from None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _cells(score: Interval, groups: int | None) -> tuple[str, str, str]:
    from brulee.reporting.wording import exact_interval, items

    return f"{score.value:.4f}", exact_interval(score), items(score.n, groups)
