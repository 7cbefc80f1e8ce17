"""Opens, splits and checks every task of a recipe before any model loads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from brulee.data.formats import (
    Described,
    decided,
    describe,
    described,
    detect,
    left_out,
    require_templates,
)
from brulee.data.holding_out import held_out_tasks, hold_out_templates
from brulee.data.mixture import Mixture
from brulee.data.parts import Group, Part
from brulee.data.patterns import name_of
from brulee.data.phrasings import alike
from brulee.data.rates import Rates
from brulee.data.rationale import select
from brulee.data.row_checks import Seen, require_columns, usable_rows
from brulee.data.rows import spellings
from brulee.data.sources import MisnamedError, Rows, open_source
from brulee.data.splits import Splits, split_rows
from brulee.data.task import MALFORMED, Task
from brulee.data.template import Template
from brulee.data.templates import TemplateSet, load_templates
from brulee.data.weights import check_weights
from brulee.errors import InputError, unknown
from brulee.progress import bar, note, silent, waiting
from brulee.recipe import DataSpec, HoldOutSpec, MixSpec, MixtureSpec, Recipe, Source
from brulee.yaml_lines import KeyPath


@dataclass(frozen=True)
class Test:
    """Rows to score, under the first phrasings or under phrasings held out from training.

    Each row is scored under `every` template, or under one of them.
    """

    __test__ = False  # pytest would collect it by its name

    name: str
    path: str
    rows: tuple[int, ...]
    templates: tuple[Template, ...]
    every: bool = False

    def template_of(self, row: int) -> Template:
        """The fixed phrasing of a row that is scored under only one."""
        return self.templates[row % len(self.templates)]


@dataclass(frozen=True)
class Corpus:
    """The tasks of a recipe by their path in its mixture ("flan/rte").

    A single task has its name as path. `held_out` maps tasks that are scored but not trained on to
    the reason; `phrasings` is the number of templates a test row is scored under, None for all.
    """

    data: DataSpec | MixtureSpec
    tasks: dict[str, Task]
    held_out: dict[str, str]
    phrasings: int | None = 1

    @property
    def trained(self) -> tuple[str, ...]:
        """The paths of the tasks to train on."""
        return tuple(path for path in self.tasks if path not in self.held_out)

    @functools.cached_property
    def kinds(self) -> frozenset[bool]:
        """The values of `Task.plain` among the tasks: both if only some are plain text."""
        return frozenset(task.plain for task in self.tasks.values())

    @functools.cached_property
    def tests(self) -> tuple[Test, ...]:
        """What is scored before and after training, in the recipe's order."""
        return tuple(
            test for path, task in self.tasks.items() for test in _tests(path, task, self.phrasings)
        )

    def mixture(
        self, rows: Mapping[str, Sequence[int]], seed: int, shuffle: bool = True
    ) -> Mixture:
        """The order of training draws, given the rows of every trained task.

        Raises InputError for rates that do not suit the members.
        """
        if isinstance(self.data, DataSpec):
            (path,) = self.trained
            group = Group("data", [self._part(path, path, rows[path])])
        else:
            group = self._group(self.data, "data", "", rows)
        return Mixture(group, seed, shuffle=shuffle)

    def _part(self, path: str, name: str, rows: Sequence[int]) -> Part:
        task = self.tasks[path]
        return Part(name, rows, len(task.templates), task.spec.weight, task.spec.row_cap)

    def _group(
        self, spec: MixtureSpec, name: str, prefix: str, rows: Mapping[str, Sequence[int]]
    ) -> Group:
        members: list[Part | Group] = []
        for child, member in zip(_names(spec), spec.tasks, strict=True):
            path = prefix + child
            if isinstance(member, MixtureSpec):
                group = self._group(member, child, f"{path}/", rows)
                members += [group] if group.members else []
            elif path not in self.held_out:
                members.append(self._part(path, child, rows[path]))
        return Group(name, members, _rates(spec.mix), spec.weight)


@waiting("Reading the data")
def open_corpus(
    recipe: Recipe, preview: bool = True, seen: Callable[[str, TemplateSet], Seen] | None = None
) -> Corpus:
    """Read, check and split the tasks of a recipe.

    For a source without templates, the detected format is reported, with a rendered row if
    `preview`. `seen` gives, for a task's path and templates, what is called with each of its rows
    (`usable_rows`).

    Tasks over the same source share a split, made with the first task's groups, so a row that one
    task trains on is in no other task's test split. Raises InputError naming file and row, or key
    and line, for anything that cannot be trained on.
    """
    source = recipe.source
    names = dict(_paths(recipe.data, source))
    # Which tasks are held out is known only after reading; until then no weight counts as missing.
    none_held = not isinstance(recipe.data, MixtureSpec) or recipe.data.hold_out == HoldOutSpec()
    check_weights(recipe.data, source, () if none_held else {at for at, _ in names.values()})
    read: dict[object, Rows] = {}
    # A single task shows a bar for its rows instead.
    watched = bar("Opening tasks", 3 * len(names), "steps") if len(names) > 1 else silent()
    with watched as progress:
        phrased = {}
        for path, (at, spec) in names.items():
            phrased[path] = _phrase(spec, source, at, read, preview)
            progress.advance()
        splits = _splits(phrased, source, progress.advance)
        tasks = {}
        for path in phrased:
            one = phrased[path]
            watch = None if seen is None else seen(path, one.templates)
            tasks[path] = _task(path, one, splits[path], watch)
            progress.advance()
    for said in described([one.noted for one in phrased.values() if one.noted is not None]):
        note(said)
    held: dict[str, str] = {}
    if isinstance(recipe.data, MixtureSpec):
        where = source.at(("data", "hold_out"))
        held = held_out_tasks(recipe.data.hold_out, tasks, where)
        check_weights(recipe.data, source, {names[path][0] for path in held})
    return Corpus(recipe.data, tasks, held, number_of(recipe))


def number_of(recipe: Recipe) -> int | None:
    """The number of phrasings that a test row is scored under, None for all."""
    phrasings = recipe.evaluate.phrasings
    return None if phrasings == "all" else phrasings


@dataclass(frozen=True)
class _Phrased:
    """A task's rows and templates, before the split."""

    spec: DataSpec
    at: KeyPath
    rows: Rows
    templates: TemplateSet
    held_out: tuple[Template, ...]
    noted: Described | None
    malformed: int


def _paths(
    data: DataSpec | MixtureSpec, source: Source, at: KeyPath = ("data",), prefix: str = ""
) -> Iterator[tuple[str, tuple[KeyPath, DataSpec]]]:
    if isinstance(data, DataSpec):
        yield prefix.removesuffix("/") or _name(data), (at, data)
        return
    known: set[str] = set()
    for number, (name, member) in enumerate(zip(_names(data), data.tasks, strict=True)):
        here = (*at, "tasks", number)
        if not name:
            raise InputError(
                f"{source.at(here)}: a mixture inside a mixture needs a name, for its tasks' paths."
            )
        if "/" in name:
            raise InputError(f"{source.at(here)}: {name!r} is not a name; it may hold no slash.")
        if name in known:
            raise InputError(
                f"{source.at(here)}: a second task is called {name!r}; give it a name of its own."
            )
        known.add(name)
        if member.system is not None:
            raise InputError(
                f"{source.at((*here, 'system'))}: a mixture has one system message, data.system."
            )
        if isinstance(member, MixtureSpec) and member.hold_out != HoldOutSpec():
            where = source.at((*here, "hold_out"))
            raise InputError(f"{where}: hold_out belongs at the top of data, for all tasks.")
        yield from _paths(member, source, here, f"{prefix}{name}/")


def _names(spec: MixtureSpec) -> list[str]:
    return [
        (member.name or "") if isinstance(member, MixtureSpec) else _name(member)
        for member in spec.tasks
    ]


def _name(spec: DataSpec) -> str:
    return spec.name or name_of(spec.source)


def _phrase(
    spec: DataSpec, source: Source, at: KeyPath, read: dict[object, Rows], preview: bool
) -> _Phrased:
    key = (spec.source, tuple(spec.columns.items()), spec.limit)
    if key not in read:
        try:
            read[key] = open_source(spec.source, source.resolve, spec.columns, spec.limit)
        except MisnamedError as error:
            raise InputError(f"{source.at((*at, error.key))}: {error}") from None
    rows, noted, malformed = read[key], None, 0
    if spec.templates is None:
        detected = detect(rows, spec.limit, spec.turns, spec.malformed_chats)
        templates = require_templates(detected)
        rows = detected.rows
        said = describe(detected, rows[0]) if preview else decided(detected)
        noted = Described(detected.name, rows.name, said)
        if malformed := len(detected.malformed):
            note(left_out(detected))
    else:
        templates = _templates(spec, source, at)
    for column in spec.references:
        if column not in rows.columns:
            raise unknown("column", column, rows.columns, source.at((*at, "references")))
    try:
        require_columns(rows, templates)
    except InputError as error:
        raise InputError(f"{source.at((*at, 'templates'))}: {error}") from None
    if templates.plain:
        _check_plain(spec, source, at)
    try:
        kept, held_out = hold_out_templates(templates, spec.hold_out_templates, spec.split.salt)
    except InputError as error:
        raise InputError(f"{source.at((*at, 'hold_out_templates'))}: {error}") from None
    return _Phrased(spec, at, rows, kept, held_out, noted, malformed)


def _check_plain(spec: DataSpec, source: Source, at: KeyPath) -> None:
    """Reject keys that apply only to prompts and answers."""
    given = {"system": spec.system, "shots": spec.shots, "references": spec.references or None}
    for key in (key for key, value in given.items() if value is not None):
        raise InputError(
            f"{source.at((*at, key))}: {spec.source} is plain text, which has no prompts and "
            f"answers, so {key} does not apply; remove it."
        )


def _templates(spec: DataSpec, source: Source, at: KeyPath) -> TemplateSet:
    assert spec.templates is not None
    key = "templates"
    try:
        found = load_templates(spec.templates, source.resolve)
        key = "rationale"
        return select(found, spec.rationale)
    except InputError as error:
        raise InputError(f"{source.at((*at, key))}: {error}") from None


def _splits(
    phrased: Mapping[str, _Phrased], source: Source, advance: Callable[[float], None]
) -> dict[str, Splits]:
    """Split the rows, once for all tasks over the same rows."""
    sharing: dict[object, list[str]] = {}
    for path, one in phrased.items():
        # Compare contents, as the same file may be named in several ways.
        held = frozenset(one.rows.digests.values()) or one.spec.source
        sharing.setdefault((held, one.rows.origin(0)), []).append(path)
    splits: dict[str, Splits] = {}
    for paths in sharing.values():
        first = phrased[paths[0]]
        for path in paths[1:]:
            _check_shared(phrased[path], first, paths[0], source)
        read = dict.fromkeys(c for path in paths for c in _read(phrased[path], first))
        known = [column for column in read if column is not None]
        compared = known if len(known) == len(read) else ()  # else compare all columns
        try:
            shared = split_rows(
                first.rows, first.spec.split, first.templates.source_columns, compared
            )
        except InputError as error:
            raise InputError(f"{source.at((*first.at, 'split'))}: {error}") from None
        splits |= dict.fromkeys(paths, shared)
        advance(len(paths))
    return splits


def _check_shared(one: _Phrased, first: _Phrased, name: str, source: Source) -> None:
    """Reject differences that would put a row into one task's training and another's test split."""
    if one.spec.split != first.spec.split:
        raise InputError(
            f"{source.at((*one.at, 'split'))}: tasks over one source share one split, and {name} "
            "asks for another; give both the same."
        )
    if len(one.rows) != len(first.rows):
        raise InputError(
            f"{source.at((*one.at, 'limit'))}: tasks over one source share one split, and {name} "
            f"reads {len(first.rows):,} rows of it where this one reads {len(one.rows):,}; give "
            "both the same limit (a row_cap uses fewer rows of a task)."
        )


def _read(phrased: _Phrased, first: _Phrased) -> Iterator[str | None]:
    """The columns that a task's templates read, by their names in the first task over these rows.

    None for a column that the first task lacks or may have under another name, as with chats
    converted to rows, or two entries of a `dataset_info.json`.
    """
    names_differ = phrased.spec.source != first.spec.source and (
        set(phrased.rows.columns) != set(first.rows.columns)
    )
    spelled = spellings(phrased.rows.columns)
    called = {own: name for name, own in first.spec.columns.items()}
    templates = (*phrased.templates, *phrased.held_out)
    for column in sorted({c for template in templates for c in template.columns} & set(spelled)):
        own = phrased.spec.columns.get(spelled[column], spelled[column])
        there = called.get(own, own)
        yield there if there in first.rows.columns and not names_differ else None


def _task(path: str, phrased: _Phrased, splits: Splits, seen: Seen | None) -> Task:
    rows, spec = phrased.rows, phrased.spec
    usable = usable_rows(rows, phrased.templates, seen)
    dropped = ({MALFORMED: n} if (n := phrased.malformed) else {}) | usable.dropped
    train, validation, test = (
        tuple(i for i in chosen if i in usable.rows)
        for chosen in (splits.train, splits.validation, splits.test)
    )
    if not train:
        out = ", ".join(f"{count:,} {why}" for why, count in dropped.items() if count)
        raise InputError(f"{rows.label}: no row is left to train on; left out: {out or 'none'}.")
    return Task(
        path.rsplit("/", 1)[-1],
        spec,
        rows,
        phrased.templates,
        phrased.held_out,
        splits,
        train=train,
        validation=validation,
        test=test,
        dropped=dropped,
        labels=usable.labels,
    )


def _tests(path: str, task: Task, phrasings: int | None) -> Iterator[Test]:
    if not task.test:
        return
    first, *_ = seen = task.templates.templates
    asked = alike(seen, first)[:phrasings]
    yield Test(f"{path}/test", path, task.test, asked, every=len(asked) > 1)
    if task.held_out:
        name = f"{path}/test-unseen-phrasings"
        unseen = alike(task.held_out, first)[:phrasings] if phrasings != 1 else ()
        yield Test(name, path, task.test, unseen or task.held_out, every=len(unseen) > 1)


def _rates(spec: MixSpec) -> Rates:
    return Rates(spec.kind, spec.rate_cap, spec.temperature, spec.scale)
