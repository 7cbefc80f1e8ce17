"""What a model is scored on before and after: each test's rows, phrasings and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from brulee.data.corpus import Corpus, Test
from brulee.data.permutation import key_of
from brulee.data.phrasings import phrased, wording
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.evaluation import LABELLED
from brulee.evaluation.base import Metric
from brulee.pipeline.task_metrics import metrics_of, names_of
from brulee.progress import note
from brulee.recipe import DataSpec, Recipe
from brulee.yaml_lines import KeyPath


@dataclass(frozen=True)
class Wording:
    """A phrasing of a test, and the metrics that judge its answers.

    Without a template, each row has its test's.
    """

    template: Template | None
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Asked:
    """A test with its candidate rows, of which the first `limit` that apply are scored.

    With a limit below their number, they are in a fixed pseudo-random order: a file may be sorted
    by label.
    """

    test: Test
    rows: tuple[int, ...]
    limit: int | None
    wordings: tuple[Wording, ...]

    @property
    def name(self) -> str:
        """The name of the test."""
        return self.test.name

    @property
    def phrasings(self) -> list[str]:
        """The names of the templates under which each row is scored."""
        return [wording.template.name for wording in self.wordings if wording.template]

    @property
    def metrics(self) -> list[tuple[Metric, ...]]:
        """The metrics of each wording."""
        return [wording.metrics for wording in self.wordings]


def wordings(asked: list[Asked], corpus: Corpus) -> dict[str, str]:
    """The digest of the templates of each test; plain texts have none."""
    found = {}
    for one in asked:
        task = corpus.tasks[one.test.path]
        every = [w.template for w in one.wordings if w.template]
        shots = task.spec.shots.test if task.spec.shots else 0
        if not task.plain:
            found[one.name] = wording(every or one.test.templates, shots, bool(every))
    return found


def asked_of(recipe: Recipe, corpus: Corpus, metrics: dict[str, tuple[Metric, ...]]) -> list[Asked]:
    """Every test of a recipe, as it is scored; `metrics` are by task, for its first phrasing.

    Notes which phrasings are left out because they do not apply to every row. Raises InputError for
    a metric that a phrasing has no labels or choices for.
    """
    specs = dict(zip(corpus.tasks, recipe.tasks, strict=True))
    return [_asked(recipe, corpus, test, *specs[test.path], metrics) for test in corpus.tests]


def _asked(
    recipe: Recipe,
    corpus: Corpus,
    test: Test,
    at: KeyPath,
    spec: DataSpec,
    metrics: dict[str, tuple[Metric, ...]],
) -> Asked:
    limit, wanted = recipe.evaluate.limit, corpus.phrasings
    names, where = names_of(recipe, corpus, test.path, at, spec)
    if not test.every:
        _say_fewer(test, wanted)
        _check_one_list(corpus, test, names, where)
        judged_by = _of_one(corpus, test, names, where) or metrics[test.path]
        return Asked(test, _drawn(test.rows, limit), limit, (Wording(None, judged_by),))
    rows = _drawn(test.rows, limit)
    found = phrased(corpus.tasks[test.path], rows, test.templates, limit)
    for name, count in found.left_out.items():
        note(
            f"{test.name}: not scored under template {name!r}, which applies to {count} of its "
            f"{len(found.rows)} rows: phrasings are compared on the same rows."
        )
    _say_fewer(test, wanted)
    judged = tuple(
        Wording(
            one.template, metrics_of(names, f"{where}: template {one.template.name!r}", one.labels)
        )
        for one in found.phrasings
    )
    return Asked(test, found.rows, None, judged)


def _drawn(rows: Sequence[int], limit: int | None) -> tuple[int, ...]:
    """The rows, ordered for a limit; a higher limit keeps those of a lower one."""
    if limit is None or limit >= len(rows):
        return tuple(rows)
    return tuple(sorted(rows, key=partial(key_of, 0)))


def _say_fewer(test: Test, wanted: int | None) -> None:
    count = len(test.templates)
    if wanted not in (None, 1) and count != wanted:
        said = f"{count} phrasing{'' if count == 1 else 's'}"
        note(f"{test.name}: evaluate.phrasings = {wanted}, and it has {said} of its question.")


def _check_one_list(corpus: Corpus, test: Test, names: list[str], where: str) -> None:
    """Raise InputError for a metric over one list of labels if the templates' labels differ."""
    key = next((name for name in names if name in LABELLED), None)
    if key is None or len(test.templates) == 1:
        return
    task = corpus.tasks[test.path]
    for one in test.templates:
        (own,) = phrased(task, test.rows, (one,), None).phrasings
        if own.labels != task.labels:
            raise InputError(
                f"{where}: {key} counts one list of labels, and {test.name} is scored under "
                f"templates of several: {one.name!r} has others than {list(task.labels or ())}. "
                "Set evaluate.phrasings to all, which judges each template by its own."
            )


def _of_one(corpus: Corpus, test: Test, names: list[str], where: str) -> tuple[Metric, ...] | None:
    """The metrics, by its own labels, of a test under one template other than its task's first."""
    task = corpus.tasks[test.path]
    if len(test.templates) > 1 or test.templates[0] is task.templates.templates[0]:
        return None
    (one,) = phrased(task, test.rows, test.templates, None).phrasings
    return metrics_of(names, f"{where}: template {one.template.name!r}", one.labels)


def of_pieces(asked: list[Asked], corpus: Corpus, limit: int | None) -> list[Asked]:
    """The same with plain texts replaced by their pieces, which are the rows of `corpus`.

    A limit counts texts, and includes all pieces of each.
    """
    tests = {test.name: test for test in corpus.tests}
    return [
        _of_pieces(one, tests[one.name], corpus, limit)
        if corpus.tasks[one.test.path].plain
        else one
        for one in asked
    ]


def _of_pieces(asked: Asked, test: Test, corpus: Corpus, limit: int | None) -> Asked:
    division = corpus.tasks[test.path].division
    assert division is not None, "plain texts were divided"
    texts = set(asked.rows[:limit])
    rows = tuple(row for row in test.rows if division.of[row] in texts)
    return replace(asked, test=test, rows=rows, limit=None)
