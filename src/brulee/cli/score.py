"""`brulee score`: score given texts, without a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json, print_table
from brulee.cli.records import read_records, text_lists, texts
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.evaluation.given_texts import Placed
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

    Every score has a 95% interval; those of sacrebleu also have its signature.
    """
    from brulee.evaluation import LABELLED, metric, signatures
    from brulee.evaluation.given_texts import check_needs_no_model, groups_of, score_texts
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
    of = groups_of(_matching(predictions, predicted, groups, "group")) if groups else None
    scores: dict[str, Interval] = {}
    for measure in measures:
        check_needs_no_model(measure)
        if measure.against not in wanted:
            raise InputError(
                f"metric {measure.keys[0]} needs --sources, the texts that were summarised."
            )
        scores |= score_texts(measure, predicted, wanted[measure.against], resamples, seed, of)
    count = len(set(of)) if of else None
    each_has = {len(one.value) for one in right}
    signed = signatures(scores, each_has.pop() if len(each_has) == 1 else "var")
    if as_json:
        found = [{"metric": key, **s._asdict()} for key, s in scores.items()]
        further = {"groups": count, "signatures": signed}
        print_json({"scores": found} | {key: value for key, value in further.items() if value})
    else:
        # `count` covers all texts, so it holds only for scores over all of them.
        each = {key: count if s.n == len(predicted) else None for key, s in scores.items()}
        shown = [(key, *_cells(s, each[key])) for key, s in scores.items()]
        print_table(["metric", "score", "95% interval", "items"], shown)
        for key, signature in signed.items():
            print(f"{key}: {signature}")


def _predicted(file: Path) -> list[Placed[str]]:
    from brulee.evaluation.given_texts import Placed

    records = read_records(file)
    found = texts(records, ["prediction", "output", "text"])
    return [Placed(r.place, text) for r, text in zip(records, found, strict=True)]


def _matching(
    predictions: Path, predicted: list[Placed[str]], file: Path, key: str
) -> list[Placed[list[str]]]:
    """The texts of another file, which must have as many as there are predictions."""
    from brulee.evaluation.given_texts import Placed

    records = read_records(file)
    found = text_lists(records, [f"{key}s", key])
    if len(predicted) != len(found):
        raise InputError(
            f"{predictions} holds {len(predicted)} texts and {file} holds {len(found)}; "
            "line N of one must belong to line N of the other."
        )
    return [Placed(r.place, several) for r, several in zip(records, found, strict=True)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _cells(score: Interval, groups: int | None) -> tuple[str, str, str]:
    from brulee.reporting.wording import exact_interval, items

    return f"{score.value:.4f}", exact_interval(score), items(score.n, groups)
