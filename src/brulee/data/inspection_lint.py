"""Lints a recipe's data: templates on its rows, duplicates, leaks, cuts, labels.

An error is certainly wrong, a warning is worth a look. Every finding has a location: a row, or a
line of the recipe or of a template file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from brulee.data.corpus import Corpus
from brulee.data.finding import Finding, Severity
from brulee.data.inspection import Inspection, TaskFacts
from brulee.data.inspection_mix import FEWEST_EPOCHS, MOST_EPOCHS
from brulee.data.inspection_texts import sample
from brulee.data.lint import lint as lint_templates
from brulee.data.rows import Rows
from brulee.data.task import MALFORMED, Task
from brulee.recipe import Recipe
from brulee.yaml_lines import KeyPath

LINTED_ROWS = 500
_INLINE = "templates"
# The share of rows beyond which a repeated oddity is an error.
_MANY = 0.05
_MOST_NEAR = 0.1
_MOST_COMMON = 0.95
_MOST_LOPSIDED = 100
# Metrics of the whole text, which an answer with reasoning fails.
_WHOLE = ("accuracy", "exact_match", "quasi_exact_match", "token_f1", "macro_f1", "matthews")


def lint(recipe: Recipe, corpus: Corpus, found: Inspection) -> list[Finding]:
    """All findings, errors first, grouped by task."""
    at = dict(zip(corpus.tasks, (path for path, _ in recipe.tasks), strict=True))
    findings = list(_lengths(recipe, found))
    for facts in found.tasks:
        task = corpus.tasks[facts.path]
        rows = _Sample(task.rows, sample((*task.train, *task.test), LINTED_ROWS))
        checks = [
            *_repeats(task, facts),
            *_leaks(facts),
            *_completions(task, facts),
            *_labels(recipe, at[facts.path], facts),
            *_scores(recipe, at[facts.path], task),
        ]
        findings += [replace(f, family=facts.path) for f in checks]
        where = recipe.source.at((*at[facts.path], "templates"))
        # Inline templates and those of a format are in no file.
        findings += [
            replace(f, where=where) if f.where in ("", _INLINE) else f
            for f in lint_templates(task.templates, rows)
        ]
    findings += _epochs(recipe, at, found)
    return sorted(findings, key=lambda finding: finding.severity != "error")


@dataclass(frozen=True)
class _Sample:
    """Some of a source's rows, with their original locations."""

    rows: Rows
    chosen: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.rows.label

    @property
    def columns(self) -> list[str]:
        return self.rows.columns

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return self.rows[self.chosen[i]]

    def place(self, i: int) -> str:
        return self.rows.place(self.chosen[i])


def _scores(recipe: Recipe, at: KeyPath, task: Task) -> Iterator[Finding]:
    own = task.spec.metrics
    where = recipe.source.at((*at, "metrics") if own is not None else ("evaluate", "metrics"))
    whole = [name for name in own or recipe.evaluate.of_answers if name in _WHOLE]
    first = task.templates.templates[0]
    if whole and first.metadata.rationale:
        message = (
            f"template {first.name!r}, in which rows are scored, reasons before it answers, and "
            f"{whole[0]} compares the whole text; final_answer compares only the answer"
        )
        yield Finding("reasoning-scored", "warning", message, where)


def _repeats(task: Task, facts: TaskFacts) -> Iterator[Finding]:
    if facts.duplicates:
        kept = {*task.splits.train, *task.splits.validation, *task.splits.test}
        first = next(i for i in range(len(task.rows)) if i not in kept)
        message = f"duplicate of an earlier row, left out ({facts.duplicates} in all)"
        yield Finding("duplicate-rows", "warning", message, task.rows.place(first))
    if facts.near_duplicates > _MOST_NEAR * facts.rows:
        message = (
            f"{facts.near_duplicates} of {facts.rows} rows are near-duplicates of another; there "
            "is less to learn from than it seems"
        )
        yield Finding("near-duplicate-rows", "warning", message, facts.source)


def _leaks(facts: TaskFacts) -> Iterator[Finding]:
    for severity, sentence in facts.texts.leaks:
        if severity in ("error", "warning"):
            how: Severity = "error" if severity == "error" else "warning"
            yield Finding("split-leak", how, sentence.removesuffix("."), facts.source)


def _completions(task: Task, facts: TaskFacts) -> Iterator[Finding]:
    if malformed := task.dropped.get(MALFORMED, 0):
        message = f"{malformed:,} of {task.count_read:,} chats are malformed and left out"
        yield Finding("malformed-chats", "warning", message, facts.source)
    empty = task.dropped.get("empty completion", 0)
    if empty:
        first = _first_empty(task)
        message = f"the completion is empty; the row is left out ({empty} in all)"
        yield Finding("empty-completion", "warning", message, first)
    if facts.texts.echoes:
        message = f"the completion repeats the source ({facts.texts.echoes} rows in all)"
        many = facts.texts.echoes > _MANY * facts.texts.read
        severity: Severity = "error" if many else "warning"
        yield Finding("echo", severity, message, facts.texts.first_echo)


def _first_empty(task: Task) -> str:
    usable = {*task.train, *task.validation, *task.test}
    template = task.templates.templates[0]
    for i in (*task.splits.train, *task.splits.validation, *task.splits.test):
        if i not in usable:
            rendered = template.render(task.rows[i], "")
            if rendered is not None and not rendered.completion:
                return task.rows.place(i)
    return task.rows.label


def _labels(recipe: Recipe, at: KeyPath, facts: TaskFacts) -> Iterator[Finding]:
    labels = facts.texts.labels
    if labels is None or "train" not in labels.counts:
        return
    where = recipe.source.at((*at, "source"))
    if labels.unused:
        named = ", ".join(map(repr, labels.unused[:5]))
        message = f"{len(labels.unused)} answer choices are never a completion: {named}"
        yield Finding("unused-label", "warning", message, where)
    train = labels.counts["train"]
    for name, counts in labels.counts.items():
        unseen = [label for label, count in counts.items() if count and not train[label]]
        if unseen and name != "train":
            named = ", ".join(map(repr, unseen[:5]))
            message = f"{len(unseen)} labels of {name} never occur in training: {named}"
            yield Finding("label-not-trained", "warning", message, where)
    yield from _balance(train, where)


def _balance(train: Mapping[str, int], where: str) -> Iterator[Finding]:
    present = {label: count for label, count in train.items() if count}
    if len(present) < 2:
        (only,) = present
        message = f"every training row has the label {only!r}; there is nothing to learn"
        yield Finding("one-label", "error", message, where)
        return
    most, least = max(present, key=lambda x: present[x]), min(present, key=lambda x: present[x])
    share = present[most] / sum(present.values())
    if share > _MOST_COMMON or present[most] > _MOST_LOPSIDED * present[least]:
        message = (
            f"labels are imbalanced: {most!r} has {present[most]} training rows ({share:.0%}), "
            f"{least!r} has {present[least]}"
        )
        yield Finding("label-imbalance", "warning", message, where)


def _lengths(recipe: Recipe, found: Inspection) -> Iterator[Finding]:
    here, where = found.cut_here, recipe.source.at(("train", "max_length"))
    most = f"train.max_length = {found.max_length}; the longest is {found.longest}"
    if found.left_out:
        message = (
            f"{found.left_out} of {found.measured} rows do not fit in any phrasing and are "
            f"left out: {most}"
        )
        yield Finding("too-long", "warning", message, where)
    if here.misfits > found.left_out:
        count = here.misfits - found.left_out
        message = (
            f"{count} of {found.measured} rows do not fit as phrased and take a shorter "
            f"template: {most}"
        )
        yield Finding("rephrased", "warning", message, where)
    if here.fewer_examples:
        count = here.fewer_examples
        message = f"{count} of {found.measured} rows show fewer examples than requested: {most}"
        yield Finding("fewer-examples", "warning", message, where)
    if here.rows_cut:
        share = here.rows_cut / found.measured
        message = (
            f"{here.rows_cut} of {found.measured} rows ({share:.1%}) lose the end of their source: "
            f"{most}"
        )
        yield Finding("cut-rows", "warning", message, where)
    if found.failed:
        message = f"{found.failed} of {found.measured + found.failed} draws cannot be encoded"
        yield Finding("not-encoded", "error", f"{message}; the first: {found.problem}", where)


def _epochs(recipe: Recipe, at: Mapping[str, KeyPath], found: Inspection) -> Iterator[Finding]:
    if len(found.mix) < 2:
        return
    for one in found.mix:
        where = recipe.source.at(at[one.task])
        epochs = round(one.epochs or 0.0, 2)
        if epochs < FEWEST_EPOCHS:
            message = (
                f"its {one.rows:,} rows are drawn {one.draws:,} times, {epochs:g} epochs: some of "
                "them are never seen"
            )
            yield Finding("few-epochs", "warning", message, where, one.task)
        elif epochs > MOST_EPOCHS:
            message = (
                f"its {one.rows:,} rows are drawn {one.draws:,} times, {epochs:g} epochs: it will "
                "be memorised; a rate_cap or a lower weight draws it less often"
            )
            yield Finding("many-epochs", "warning", message, where, one.task)
