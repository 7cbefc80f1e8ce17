"""`brulee data contamination`: find test rows in the training rows, and the effect on scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text
from brulee.errors import InputError
from brulee.printable import printable

if TYPE_CHECKING:
    from brulee.data.contamination import Index, Match
    from brulee.data.corpus import Corpus
    from brulee.data.row_texts import RowTexts
    from brulee.evaluation.contaminated import Scored
    from brulee.evaluation.memorised import Familiarity
    from brulee.evaluation.stats import Interval
    from brulee.evaluation.suite_texts import SuiteTexts
    from brulee.recipe import Recipe

_WORST = 5
_SUITE_SET = "--suite-set"
_SPAN = 160  # characters shown of a span


def contamination(
    recipe: options.RecipeFile,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help="Compare with these rows instead of the recipe's own test rows."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Compare with the items of this suite of `brulee eval`, task by task."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the suite's official files [default: the Hub's copy]."),
    ] = None,
    suite_set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of the suite, as in `brulee eval --set`."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Show the scores of this run on clean and dirty items."),
    ] = None,
    model: Annotated[
        bool,
        typer.Option("--model", help="Check whether the base model already knows the test rows."),
    ] = False,
    overrides: options.Overrides = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look for test rows in the training rows.

    Compares runs of 8 and of 13 words. Label words, ids and boilerplate are ignored.
    """
    from brulee.recipe import load_recipe

    if suite is None and (data is not None or suite_set):
        raise InputError("--data and --suite-set belong to a suite; name it with --suite.")
    spec = load_recipe(recipe, overrides or ())
    progress.enable(not quiet)
    from brulee.data.contamination import Index, trained_texts
    from brulee.data.corpus import open_corpus

    corpus = open_corpus(spec, preview=False)
    with progress.waiting("Indexing the training rows"):
        index = Index([trained_texts(corpus.tasks[path], path) for path in corpus.trained])
    items = _items(suite, data, suite_set or ())
    forms = [
        *((one,) for one in _sources(corpus, spec, against or ())),
        *(one.forms for one in items),
    ]
    if run is not None or not forms:
        forms = [*((one,) for one in _own(corpus)), *forms]
    if not forms:
        raise InputError(
            "no test rows to compare with: the recipe's split holds out none; name some with "
            "--against SOURCE or --suite NAME."
        )
    with progress.waiting("Comparing the test rows"):
        found = iter(index.search_all([one for several in forms for one in several]))
        matches = {several[0].name: _worst([next(found) for _ in several]) for several in forms}
    scores = [] if run is None else list(_scores(run, spec, corpus, matches))
    if run is not None and suite is not None:
        scores += _suite_scores(run, suite, data, items, matches)
    known = _familiar(spec, corpus, [several[0] for several in forms]) if model else {}
    if as_json:
        print_json(_values(index, matches, scores, known))
        return
    _show_matches(index, matches)
    if scores:
        _show_scores(scores)
    for name, familiarity in known.items():
        print(f"\n{name}: does the base model know it already? {familiarity.sentence()}")


def _own(corpus: Corpus) -> Iterator[RowTexts]:
    from brulee.data.contamination import scored_texts

    for path, task in corpus.tasks.items():
        if task.test:
            yield scored_texts(task, f"{path}/test")


def _sources(corpus: Corpus, spec: Recipe, against: Sequence[str]) -> Iterator[RowTexts]:
    from brulee.data.row_texts import row_texts
    from brulee.data.sources import open_source

    labels = {label for task in corpus.tasks.values() for label in task.labels or ()}
    for name in dict.fromkeys(against):
        yield row_texts(name, open_source(name, spec.source.resolve), labels=labels)


def _items(suite: str | None, data: Path | None, settings: Sequence[str]) -> list[SuiteTexts]:
    from brulee.evaluation.suite_options import parse_settings
    from brulee.evaluation.suite_texts import suite_texts

    if suite is None:
        return []
    return suite_texts(suite, data, parse_settings(settings, _SUITE_SET), _SUITE_SET)


def _worst(found: Iterable[list[Match]]) -> list[Match]:
    """For each item, the match of the form that overlaps most with the training rows."""
    return [min(forms, key=_badness) for forms in zip(*found, strict=True)]


def _scores(
    run: Path, spec: Recipe, corpus: Corpus, matches: dict[str, list[Match]]
) -> Iterator[Scored]:
    """The run's scores on the tasks of a recipe, which may be a subset of the run's tasks."""
    from brulee.data.corpus import number_of
    from brulee.evaluation.contaminated import check_rows, run_scores
    from brulee.pipeline.asked import asked_of
    from brulee.pipeline.folder import reopen_run
    from brulee.pipeline.task_metrics import task_metrics

    where = reopen_run(run)
    for task in corpus.tasks.values():
        check_rows(where.manifest().get("data", {}), task.rows, run)
    scored = replace(corpus, phrasings=number_of(where.recipe))
    recipe = spec.model_copy(update={"evaluate": where.recipe.evaluate})
    for asked in asked_of(recipe, scored, task_metrics(recipe, scored)):
        dirty = {match.row: match.dirty for match in matches[f"{asked.test.path}/test"]}
        yield from run_scores(run, asked.name, dirty, asked.metrics, asked.phrasings)


def _suite_scores(
    run: Path,
    suite: str,
    data: Path | None,
    items: Sequence[SuiteTexts],
    matches: dict[str, list[Match]],
) -> Iterator[Scored]:
    """The run's scores on a suite, over the items that were searched for."""
    from brulee.pipeline.contaminated_suites import suite_scores

    dirty: dict[str, dict[str, bool]] = {}
    for one in items:
        flags = [match.dirty for match in matches[one.name]]
        for task, units in one.units.items():
            of = dirty.setdefault(task, {})
            for unit, flag in zip(units, flags, strict=True):
                of[unit] = of.get(unit, False) or flag
    yield from suite_scores(run, suite, data, dirty)


def _familiar(spec: Recipe, corpus: Corpus, tested: Sequence[RowTexts]) -> dict[str, Familiarity]:
    from brulee.data.contamination import trained_texts
    from brulee.evaluation.memorised import familiarity
    from brulee.inference.session import open_engine
    from brulee.models.precision import pick_device, pick_dtype
    from brulee.models.recipe_base import load_recipe_base
    from brulee.models.tokenizers import encoder_of

    device = pick_device(spec.train.device)
    base = load_recipe_base(spec, pick_dtype(spec.train.precision, device), device)
    encoder = encoder_of(base.tokenizer, base.kind, spec)
    engine = open_engine(base, encoder, spec.evaluate.batch_tokens)
    trained = {f"{path}/test": trained_texts(corpus.tasks[path], path) for path in corpus.trained}
    found = {}
    for one in tested:
        # Prefer training rows of the same task: those of other tasks differ for other reasons.
        near = [trained[one.name]] if one.name in trained else list(trained.values())
        reference = [text for source in near for text in source.joined()]
        found[one.name] = familiarity(engine, encoder, one.joined(), reference)
    return found


def _values(
    index: Index,
    matches: dict[str, list[Match]],
    scores: Sequence[Scored],
    known: dict[str, Familiarity],
) -> dict[str, Any]:
    tests = [
        {
            "name": name,
            "items": len(found),
            "dirty": sum(match.dirty for match in found),
            "matches": [asdict(match) for match in found if match.span or match.dirty],
        }
        for name, found in matches.items()
    ]
    shown = [
        {
            **{"task": one.task, "metric": one.metric, "items": one.items},
            "base": one.base and one.base._asdict(),
            "tuned": one.tuned and one.tuned._asdict(),
        }
        for one in scores
    ]
    asked = {name: {**asdict(one), "sentence": one.sentence()} for name, one in known.items()}
    trained = {"rows": len(index), "words": index.words}
    return {"trained": trained, "tests": tests, "scores": shown, "model": asked}


def _show_matches(index: Index, matches: dict[str, list[Match]]) -> None:
    print(f"{len(index):,} training rows, {index.words:,} words compared.\n")
    headers = ["test rows", "items", "dirty", "13-gram", "8-grams", "whole text", "in 8-grams"]
    print_table(headers, [_counted(name, found) for name, found in matches.items()])
    for name, found in matches.items():
        touched = [match for match in found if match.span or match.dirty]
        worst = sorted(touched, key=_badness)[:_WORST]
        if worst:
            among = f"{len(worst)} of {len(touched)}"
            print(f"\n{name}: the worst {among} that share eight words in a row")
        for match in worst:
            _show_match(match)


def _counted(name: str, found: Sequence[Match]) -> tuple[str, ...]:
    reasons = [match.reason for match in found]
    dirty = len(found) - reasons.count(None)
    covered = sum(match.coverage_8 * match.words for match in found)
    words = sum(match.words for match in found)
    by_reason = (str(reasons.count(reason)) for reason in ("13-gram", "8-grams", "whole text"))
    share = f"{dirty} ({dirty / len(found):.1%})"
    return name, str(len(found)), share, *by_reason, f"{covered / max(words, 1):.1%} of words"


def _badness(match: Match) -> tuple[bool, float, int]:
    return not match.dirty, -match.coverage_8, -match.span_words


def _show_match(match: Match) -> None:
    verdict = f"dirty by {match.reason}" if match.dirty else "clean"
    print(
        f"  {match.place}: {verdict}; {match.coverage_8:.0%} of {match.words} words in 8-grams, "
        f"{match.coverage_13:.0%} in 13-grams"
    )
    if match.span:
        span = match.span if len(match.span) <= _SPAN else f"{match.span[:_SPAN]} ..."
        said = printable(" ".join(span.split()))
        print(f"    {match.span_words} words also in {match.trained_place}: {said}")
    else:
        print("    all of its text is in more than ten training rows")


def _show_scores(scores: Sequence[Scored]) -> None:
    print("\nScores with 95% intervals")
    headers = ["task", "metric", "items", "n", "base", "tuned"]
    parts = {(one.task, one.items) for one in scores if one.base or one.tuned}
    divided = {task for task, _ in parts if {(task, "clean"), (task, "dirty")} <= parts}
    shown = [one for one in scores if one.items == "all" or one.task in divided]
    print_table(headers, [_scored(one) for one in shown])
    for task in dict.fromkeys(one.task for one in shown if one.task not in divided):
        alike = "dirty" if (task, "dirty") in parts else "clean"
        print_text(f"{task}: all items with scores are {alike}.")


def _scored(one: Scored) -> tuple[str, ...]:
    from brulee.reporting.wording import metric_name

    n = one.tuned.n if one.tuned else 0
    values = str(n), _interval(one.base), _interval(one.tuned)
    return one.task, metric_name(one.metric), one.items, *values


def _interval(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"
