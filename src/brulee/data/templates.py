"""Template sets from the library, from promptsource's YAML files, and from a recipe."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from brulee.data.finding import Finding
from brulee.data.template import PLAIN, SEPARATOR, TEXT, Rendered, Template, TemplateMetadata
from brulee.errors import InputError, nearest, unknown
from brulee.textfile import read_text
from brulee.yaml_lines import parse

__all__ = [
    "Rendered",
    "Template",
    "TemplateMetadata",
    "TemplateSet",
    "library",
    "load_templates",
    "read_templates",
]

Spec = str | list[str] | dict[str, Any]
PLAIN_TEXT = "plain-text"  # a text without a prompt, used as it is
# `cluster`, `sources` and a template's `rationale` are extensions of promptsource's schema.
_FILE_KEYS = ("dataset", "subset", "cluster", "sources", "templates")
# Some promptsource files still have the key `task_template`, which has no effect.
_TEMPLATE_KEYS = (
    "id",
    "name",
    "jinja",
    "answer_choices",
    "reference",
    "metadata",
    "task_template",
)
_FLAGS = ("original_task", "choices_in_prompt", "rationale")
_METADATA_KEYS = (*_FLAGS, "metrics", "languages")
_INLINE_KEYS = ("name", "jinja", "prompt", "completion", "answer_choices")


@dataclass(frozen=True)
class TemplateSet:
    """Templates that phrase one task in several ways.

    `cluster` is the kind of task (a cluster is held out as a whole); `sources` are the data sets
    whose columns the templates read. Neither affects rendering.
    """

    name: str
    templates: tuple[Template, ...]
    cluster: str | None = None
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.templates)

    def __iter__(self) -> Iterator[Template]:
        return iter(self.templates)

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of everything that affects rendering."""
        plain = [
            [t.name, t.jinja, t.answer_choices, *([t.chat] if t.chat else [])]
            for t in self.templates
        ]
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def plain(self) -> bool:
        """Whether a row is a text without a prompt."""
        return any(template.plain for template in self.templates)

    @functools.cached_property
    def columns(self) -> frozenset[str]:
        """Every row column that at least one template reads."""
        return frozenset().union(*(t.columns for t in self.templates))

    @functools.cached_property
    def source_columns(self) -> tuple[str, ...]:
        """The source columns that all templates share, by which rows are grouped.

        Inverted templates read what the others answer, so there may be none: then those shared by
        the templates of the original task, else those of the first template.
        """
        original = [t for t in self.templates if t.metadata.original_task is not False]
        shared = _shared_sources(self.templates) or _shared_sources(original)
        return shared or self.templates[0].source_columns


def load_templates(spec: Spec, resolve: Callable[[str], Path] = Path) -> TemplateSet:
    """Load the templates that a recipe names.

    `spec` is a library family ("dialogue-summary"), one of its templates
    ("dialogue-summary/plain"), a YAML file, a list of these, or an inline template with the keys
    jinja (or prompt, completion), answer_choices, name; or `plain-text`, which uses the column
    `text` as it is and cannot be combined with others. Raises InputError with the nearest valid
    names for an unknown name, and with file and line for a malformed file.
    """
    if isinstance(spec, Mapping):
        return TemplateSet("inline", (_inline(spec),))
    if isinstance(spec, str):
        return _named(spec, resolve)
    if not spec:
        raise InputError("templates: the list is empty; name at least one.")
    sets = [load_templates(item, resolve) for item in spec]
    if len(sets) > 1 and any(one.plain for one in sets):
        raise InputError(
            f"templates: {PLAIN_TEXT} has no prompt and cannot be in a list with other templates."
        )
    templates = _told_apart(sets)
    _refuse_repeats([t.name for t in templates], "templates")
    clusters = {one.cluster for one in sets}
    sources = dict.fromkeys(source for one in sets for source in one.sources)
    return TemplateSet(
        ", ".join(one.name for one in sets),
        templates,
        clusters.pop() if len(clusters) == 1 else None,
        tuple(sources),
    )


def library() -> dict[str, TemplateSet]:
    """Every family of the library, by name."""
    return {family: _family(family) for family in families()}


def families() -> list[str]:
    """The names of the library's families."""
    folder = resources.files("brulee.data") / "library"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def _is_recipe(values: object) -> bool:
    return isinstance(values, dict) and "data" in values


def load_to_lint(spec: str) -> tuple[TemplateSet | None, list[Finding]]:
    """The templates of a family or a file that can be read, and a finding for each that cannot.

    None instead of no templates. Raises InputError as `load_templates` for anything else.
    """
    if not spec.endswith((".yaml", ".yml")):
        return load_templates(spec), []
    malformed: list[Finding] = []
    found = _file(spec, Path(spec), malformed)
    return (found if len(found) else None), malformed


def read_templates(
    text: str, name: str, where: str, malformed: list[Finding] | None = None
) -> TemplateSet:
    """Parse a YAML file in promptsource's schema; its `!Template` tags are read as mappings.

    A template that cannot be read raises InputError, or becomes a finding in `malformed`, if given.
    """
    values, lines = parse(text, where)
    if not isinstance(values, dict) or not isinstance(values.get("templates"), dict):
        hint = "; `brulee data inspect` shows a recipe's rows" if _is_recipe(values) else ""
        raise InputError(f"{where}: a template file is a mapping with the key 'templates'{hint}.")
    _check_keys(values, _FILE_KEYS, where)
    templates = []
    cluster, sources = _cluster(values, where), _sources(values, where)
    for key, fields in values["templates"].items():
        at = f"{where}, line {lines[('templates', key)]}"
        try:
            templates.append(_template(key, fields, at))
        except InputError as error:
            if malformed is None:
                raise
            said = str(error).removeprefix(f"{at}: ")
            malformed.append(Finding("malformed", "error", said, at, family=name))
    if not templates and not malformed:
        raise InputError(f"{where}: the file holds no template.")
    _refuse_repeats([t.name for t in templates], where)
    return TemplateSet(name, tuple(templates), cluster, sources)


def _shared_sources(templates: Iterable[Template]) -> tuple[str, ...]:
    read = [template.source_columns for template in templates]
    return tuple(c for c in read[0] if all(c in other for other in read)) if read else ()


def _named(spec: str, resolve: Callable[[str], Path]) -> TemplateSet:
    if spec.endswith((".yaml", ".yml")):
        return _file(spec, resolve(spec))
    if spec == PLAIN_TEXT:
        return TemplateSet(PLAIN_TEXT, (Template(TEXT, PLAIN, plain=True),))
    family, slash, name = spec.partition("/")
    if family not in families():
        if resolve(spec).is_file():
            raise InputError(f"{spec}: a template file ends in .yaml or .yml.")
        raise unknown("template family", family, [*families(), PLAIN_TEXT], "templates")
    found = _family(family)
    if not slash:
        return found
    chosen = tuple(t for t in found if t.name == name)
    if not chosen:
        raise unknown("template", name, [t.name for t in found], f"templates: {family}")
    return TemplateSet(spec, chosen, found.cluster, found.sources)


@functools.cache
def _family(family: str) -> TemplateSet:
    file = resources.files("brulee.data") / "library" / f"{family}.yaml"
    return read_templates(file.read_text(encoding="utf-8"), family, f"library/{family}.yaml")


def _file(spec: str, path: Path, malformed: list[Finding] | None = None) -> TemplateSet:
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f" Did you mean {path.with_name(close[0])}?" if close else ""
        raise InputError(f"{spec}: no such template file.{hint}")
    return read_templates(read_text(path, spec), path.stem, spec, malformed)


def _cluster(values: Mapping[str, Any], where: str) -> str | None:
    cluster = values.get("cluster")
    if not (cluster is None or (isinstance(cluster, str) and cluster.strip())):
        raise InputError(f"{where}: cluster {cluster!r} is not a name such as summarization.")
    return cluster


def _sources(values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    sources = values.get("sources") or []
    if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise InputError(f"{where}: sources {sources!r} is not a list of data set names.")
    return tuple(sources)


def _inline(spec: Mapping[str, Any]) -> Template:
    where = "templates"
    _check_keys(spec, _INLINE_KEYS, where)
    for key, value in spec.items():
        if not isinstance(value, str):
            raise InputError(f"{where}.{key}: {value!r} is not text.")
    if ("jinja" in spec) == ("prompt" in spec or "completion" in spec):
        raise InputError(f"{where}: give either jinja, or prompt with completion.")
    if "jinja" not in spec and not ("prompt" in spec and "completion" in spec):
        missing = "completion" if "prompt" in spec else "prompt"
        raise InputError(f"{where}: the key {missing!r} is required.")
    jinja = spec.get("jinja") or _joined(spec["prompt"], spec["completion"])
    return Template(spec.get("name", "inline"), jinja, spec.get("answer_choices"), where=where)


def _joined(prompt: str, completion: str) -> str:
    # The separator is the first `|||`, so a `|` at the end of the prompt would become part of it.
    return f"{prompt}{' ' if prompt.endswith('|') else ''}{SEPARATOR}{completion}"


def _template(key: str, fields: Any, where: str) -> Template:
    if not isinstance(fields, dict):
        raise InputError(f"{where}: a template is a mapping with the keys name and jinja.")
    _check_keys(fields, _TEMPLATE_KEYS, where)
    if "jinja" not in fields:
        raise InputError(f"{where}: the key 'jinja' is required.")
    name, jinja = fields.get("name") or key, fields["jinja"]
    choices, reference = fields.get("answer_choices"), fields.get("reference") or ""
    for field, value in {"name": name, "jinja": jinja, "reference": reference}.items():
        if not isinstance(value, str):
            raise InputError(f"{where}: {field} {value!r} is not text; put it in quotes.")
    if choices is not None and not isinstance(choices, str):
        raise InputError(
            f"{where}: answer_choices {choices!r} is not text separated by {SEPARATOR}."
        )
    metadata = _metadata(fields.get("metadata") or {}, where)
    return Template(name, jinja, choices, metadata, reference, where)


def _metadata(fields: Any, where: str) -> TemplateMetadata:
    if not isinstance(fields, dict):
        raise InputError(f"{where}: metadata is a mapping with {', '.join(_METADATA_KEYS)}.")
    _check_keys(fields, _METADATA_KEYS, where)
    for key in _FLAGS:
        if fields.get(key) not in (True, False, None):
            raise InputError(f"{where}: {key} is true or false, not {fields[key]!r}.")
    for key in ("metrics", "languages"):
        if not isinstance(fields.get(key) or [], list):
            raise InputError(f"{where}: {key} is a list, not {fields[key]!r}.")
    return TemplateMetadata(
        fields.get("original_task"),
        fields.get("choices_in_prompt"),
        tuple(str(metric) for metric in fields.get("metrics") or ()),
        tuple(str(language) for language in fields.get("languages") or ()),
        fields.get("rationale"),
    )


def _check_keys(values: Mapping[str, Any], valid: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in valid:
            raise unknown("key", key, valid, where)


def _told_apart(sets: Sequence[TemplateSet]) -> tuple[Template, ...]:
    """The templates of several families; names used by more than one get the family as prefix."""
    families: dict[str, set[str]] = {}
    for one in sets:
        for template in one:
            families.setdefault(template.name, set()).add(one.name.partition("/")[0])
    return tuple(
        template.called(f"{one.name.partition('/')[0]}/{template.name}")
        if len(families[template.name]) > 1
        else template
        for one in sets
        for template in one
    )


def _refuse_repeats(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: two templates are called {name!r}.")
