"""`brulee score`: metrics of given texts, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table
from brulee.cli.records import read_records, text_lists, texts
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.evaluation.stats import Interval


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
        Path | None, typer.Option(help="What was summarised, for faithfulness; as references.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Names, separated by commas: rouge, rougeL:recall, bleu, chrf ...")
    ] = "rouge,bleu",
    labels: Annotated[
        str | None, typer.Option(help="All labels of a classification, separated by commas.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 2000,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Score texts against references; no model needed.

    Every score comes with its 95% bootstrap interval.
    """
    predicted = texts(read_records(predictions), ["prediction", "output", "text"])
    wanted = {"references": _matching(predictions, predicted, references, "reference")}
    if sources:
        wanted["source"] = _matching(predictions, predicted, sources, "source")
    known = _names(labels) if labels else None
    scores: dict[str, Interval] = {}
    for name in _names(metrics):
        scores |= _score(name, known, predicted, wanted, resamples, seed)
    if as_json:
        print_json({"scores": [{"metric": key, **s._asdict()} for key, s in scores.items()]})
    else:
        shown = [(key, *_cells(s)) for key, s in scores.items()]
        print_table(["metric", "score", "95% interval", "items"], shown)


def _matching(predictions: Path, predicted: list[str], file: Path, key: str) -> list[list[str]]:
    """The texts of another file, as many as there are predictions."""
    found = text_lists(read_records(file), [f"{key}s", key])
    if len(predicted) != len(found):
        raise InputError(
            f"{predictions} holds {len(predicted)} texts and {file} holds {len(found)}; "
            "line N of one must belong to line N of the other."
        )
    return found


def _score(
    name: str,
    labels: list[str] | None,
    predictions: list[str],
    wanted: dict[str, list[list[str]]],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    from functools import partial

    import numpy as np

    from brulee.evaluation import metric
    from brulee.evaluation.stats import interval

    measure = metric(name, labels)
    if measure.against not in wanted:
        raise InputError(f"metric {name} needs --sources, the texts that were summarised.")
    against = wanted[measure.against]
    items = [measure.statistics(p, r) for p, r in zip(predictions, against, strict=True)]
    found = {}
    for key in measure.keys:
        stats_NS = measure.join(key, np.array([item[key] for item in items]))
        found[key] = interval(stats_NS, partial(measure.reduce, key), resamples, seed)
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _cells(score: Interval) -> tuple[str, str, str]:
    return f"{score.value:.4f}", f"{score.low:.4f} to {score.high:.4f}", str(score.n)
