"""`brulee data lint`: find mistakes in a recipe's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brulee import progress
from brulee.cli import options
from brulee.cli.findings import end_lint
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.data.corpus import Corpus
    from brulee.data.encoding import Encoder
    from brulee.data.finding import Finding
    from brulee.recipe import Recipe


def lint(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look for mistakes in a recipe's data.

    Tries the templates on the recipe's rows, and looks for duplicates, leaks, cuts, odd labels.
    Exits with 2 on errors, with 0 on warnings only.
    """
    from brulee.recipe import load_recipe

    spec = load_recipe(recipe, overrides or ())
    progress.enable(not quiet)
    found = _findings(spec)
    end_lint(found, as_json)


def _findings(spec: Recipe) -> list[Finding]:
    from brulee.data.corpus import open_corpus
    from brulee.data.finding import Finding
    from brulee.data.inspection import inspect
    from brulee.data.inspection_lint import lint as lint_data
    from brulee.models.tokenizers import load_encoder

    encoder = load_encoder(spec)
    try:
        corpus = open_corpus(spec, preview=False)
        found = lint_data(spec, corpus, inspect(spec, corpus, encoder, rows=0))
    except InputError as error:
        # A run would stop here as well; --json shows it in the same form as other findings.
        return [Finding("unusable", "error", str(error), spec.source.at(("data",)))]
    return [*_not_judged(spec, corpus, encoder), *found]


def _not_judged(spec: Recipe, corpus: Corpus, encoder: Encoder) -> list[Finding]:
    """Why the recipe's metrics cannot score its rows; empty if they can."""
    from brulee.data.finding import Finding
    from brulee.evaluation.answering import how_calls_are_written
    from brulee.pipeline.asked import asked_of
    from brulee.pipeline.reference_check import check_references
    from brulee.pipeline.task_metrics import task_metrics

    try:
        metrics = task_metrics(spec, corpus)
        check_references(corpus, asked_of(spec, corpus, metrics))
        for own in metrics.values():
            how_calls_are_written(encoder, own)
    except InputError as error:
        where = spec.source.at(("evaluate", "metrics"))
        return [Finding("not-judged", "error", str(error).removesuffix("."), where)]
    return []
