"""The metrics of each task, by their names in the recipe and the labels of its rows."""

from __future__ import annotations

from collections.abc import Iterable

from brulee.data.corpus import Corpus, Test
from brulee.errors import InputError
from brulee.evaluation import LABELLED, METRICS, metric, of_texts
from brulee.evaluation.base import Metric
from brulee.evaluation.json_by_schema import OPTION, is_by_schema
from brulee.recipe import DataSpec, Recipe
from brulee.recipe.sections import OF_TEXTS
from brulee.yaml_lines import KeyPath


def task_metrics(recipe: Recipe, corpus: Corpus) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each task.

    Raises InputError for an unknown name, and for ranked choices if templates have none.
    """
    found = {}
    tests: dict[str, list[Test]] = {}
    for test in corpus.tests:
        tests.setdefault(test.path, []).append(test)
    for path, (path_at, spec) in zip(corpus.tasks, recipe.tasks, strict=True):
        names, where = names_of(recipe, corpus, path, path_at, spec)
        found[path] = metrics_of(names, where, corpus.tasks[path].labels)
        for key in (m.keys[0] for m in found[path] if m.asks == "choices"):
            _check_choices(tests.get(path, ()), path, key, where)
    return found


def check_metrics(recipe: Recipe) -> None:
    """Raise InputError for an unknown metric, before any data is read."""
    # Metrics of labels are built later, when the labels are known from the rows.
    for at, spec in recipe.tasks:
        own = spec.metrics is not None
        where = recipe.source.at((*at, "metrics") if own else ("evaluate", "metrics"))
        names = given_names(recipe, spec)
        metrics_of([name for name in names if name not in LABELLED], where)


def names_of(
    recipe: Recipe, corpus: Corpus, path: str, at: KeyPath, spec: DataSpec
) -> tuple[list[str], str]:
    """The names of a task's metrics, and where the recipe gives them.

    `evaluate.metrics` apply to the tasks that they can judge: with answers, or plain text. Raises
    InputError for one that can judge no task, and for a task's own metric that cannot judge it.
    """
    own = spec.metrics is not None
    names = given_names(recipe, spec)
    where = recipe.source.at((*at, "metrics") if own else ("evaluate", "metrics"))
    plain = corpus.tasks[path].plain
    unnamed = not own and recipe.evaluate.metrics is None
    fitting = [name for name in names if of_texts(name) == plain]
    others = corpus.kinds - {plain}
    if plain and (unnamed or (not fitting and not own and others)):
        return list(OF_TEXTS), where
    wrong = [name for name in names if name not in fitting]
    if wrong and (own or not others or not fitting):
        raise InputError(f"{where}: {_misjudged(path, wrong[0], plain)}")
    return fitting, where


def given_names(recipe: Recipe, spec: DataSpec) -> list[str]:
    """The names of the metrics given for a task; files in them are resolved by the recipe."""
    names = recipe.evaluate.of_answers if spec.metrics is None else spec.metrics
    return [
        f"{kind}{OPTION}{recipe.source.resolve(file)}" if file and is_by_schema(name) else name
        for name in names
        for kind, _, file in [name.partition(OPTION)]
    ]


def metrics_of(
    names: list[str], where: str, labels: tuple[str, ...] | None = None
) -> tuple[Metric, ...]:
    """The metrics of these names, for these labels. Raises InputError naming `where`."""
    try:
        return tuple(metric(name, labels) for name in names)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_choices(tests: Iterable[Test], path: str, key: str, where: str) -> None:
    for test in tests:
        bare = next((t for t in test.templates if t.answer_choices is None), None)
        if bare is not None:
            raise InputError(
                f"{where}: {key} compares answer choices, and template {bare.name!r}, under which "
                f"{path} is scored, has none; add answer_choices to it, or give the task metrics "
                "of its own."
            )


def _misjudged(path: str, name: str, plain: bool) -> str:
    if plain:
        known = ", ".join(filter(of_texts, METRICS))
        return (
            f"{name} judges an answer, and {path} is plain text, which has none and is measured "
            f"in bits per byte: write metrics: [{known}], or leave them out."
        )
    return (
        f"{name} is for plain text, and {path} has answers, which other metrics judge: see "
        "`brulee metrics list`."
    )
