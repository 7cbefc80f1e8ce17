"""A recipe to begin with, for rows that have none: what they are, how they are asked and scored."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brulee.data.corpus import open_corpus
from brulee.data.formats import TABLE, Detected, describe, detect
from brulee.data.sources import Rows, open_source
from brulee.data.table_hints import families_for
from brulee.data.task import Task
from brulee.data.template import Template
from brulee.data.templates import TemplateSet, load_templates
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict

_SAMPLE = 50
_SHARES = (0.15, 0.3, 0.5)
# What a column that is to be learned is called, the surest first.
_TARGETS = (
    *("completion", "response", "answer", "output", "target", "summary", "translation", "label"),
    *("labels", "class", "category", "intent", "sentiment", "stars", "rating", "score", "reply"),
)
_GROUP = re.compile(
    r"(user|customer|client|author|conversation|session|thread|ticket|group|document|doc)(_?id)?$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(^|_)(id|idx|index|uuid|guid|url|date|time|timestamp|created_at)$", re.IGNORECASE
)
# Words of the template language.
_RESERVED = frozenset(
    (
        *("and", "as", "dict", "else", "for", "from", "if", "import", "in", "is", "loop"),
        *("none", "not", "or", "range", "self", "true", "false", "with"),
    )
)
_MOST_LABELS, _LONGEST_LABEL = 20, 40
# Tokens that an answer may have: a third of its characters, within reason.
_LEAST_TOKENS, _MOST_TOKENS = 16, 512


@dataclass(frozen=True)
class Start:
    """A recipe's text, and what it makes of the rows: said in words, with one row as it is asked.

    `guessed`: no format says how the rows are meant, so that the prompt is to be looked over.
    """

    text: str
    described: str
    rows: int
    test: int
    guessed: bool


def start(source: str, model: str = "bundled", file: Path = Path("my.yaml")) -> Start:
    """A recipe that trains on a source as it is, with comments, to be written to `file`.

    The format, or else the first library family that fits, or else a guess from the columns' names
    says what is asked. Raises InputError for rows that cannot be trained on.
    """
    rows = open_source(source)
    detected = detect(rows)
    if detected.templates is None and detected.name != TABLE:
        raise InputError(f"{rows.name}: {detected.why}")
    data, said = _phrased(source, rows, detected)
    task, data = _opened(data, model)
    text = "\n".join([*_lines(data, said, task, model, file), ""])
    phrased = Detected(detected.name, said.why, task.templates, task.rows)
    described = describe(phrased, task.rows[task.train[0]])
    return Start(text, described, len(task.rows), len(task.test), said.guessed)


@dataclass(frozen=True)
class _Said:
    """Why the rows are phrased as they are, and the comments that say so in the recipe."""

    why: str
    comments: tuple[str, ...]
    guessed: bool = False


def _phrased(source: str, rows: Rows, detected: Detected) -> tuple[dict[str, Any], _Said]:
    """The data section without its split."""
    if detected.templates is not None:
        read_as = f"read as {detected.name}: {detected.why}"
        return {"source": source}, _Said(detected.why, (read_as,))
    fitting = _families(rows)
    if fitting:
        first, *others = fitting
        also = [f"these fit as well: {', '.join(others)}"] if others else []
        shown = f"`brulee templates show {first}` prints it"
        comments = (f"a guess, the library family that reads these columns: {shown}", *also)
        said = _Said(f"phrased by the library family {first}", comments, guessed=True)
        return {"source": source, "templates": first}, said
    data = {"source": source, **_guess(detected)}
    comments = (
        f"guessed from the columns ({', '.join(rows.columns)}): say here what is asked",
        "and what is to be written, with {{column}} for a row's own",
    )
    return data, _Said("guessed from the columns' names", comments, guessed=True)


def _families(rows: Rows) -> list[str]:
    """The library families that fit the first rows."""
    fitting = families_for(rows.columns, rows[0])
    return [name for name in fitting if _fits(load_templates(name), rows)]


def _fits(templates: TemplateSet, rows: Rows) -> bool:
    try:
        found = [templates.templates[0].render(rows[i]) for i in range(min(_SAMPLE, len(rows)))]
    except InputError:
        return False
    return all(one is None or one.completion for one in found)


def _guess(detected: Detected) -> dict[str, Any]:
    """A prompt of all columns but one, which is learned."""
    rows = detected.rows
    names = {column: _name(column, at) for at, column in enumerate(rows.columns, 1)}
    sample = [rows[i] for i in range(min(_SAMPLE, len(rows)))]
    told = [c for c in rows.columns if _is_told(c, sample)]
    target = _target(told, sample)
    asked = [c for c in told if c != target and any(isinstance(r[c], str) for r in sample)]
    if target is None or not asked:
        raise InputError(f"{rows.name}: {detected.why}")
    many = len(asked) > 1
    texts = [f"{_shown(c)}: {{{{{names[c]}}}}}" if many else f"{{{{{names[c]}}}}}" for c in asked]
    labels = [str(row[target]) for row in rows if row[target] is not None]
    one_of = (
        f" Answer with one of: {', '.join(sorted(set(labels)))}." if _are_labels(labels) else ""
    )
    prompt = "\n\n".join([*texts, f"What is the {_shown(target)}?{one_of}"])
    used = {names[c]: c for c in (*asked, target) if names[c] not in (c, c.replace("-", "_"))}
    mapped = {"columns": used} if used else {}
    return {"templates": {"prompt": prompt, "completion": f"{{{{{names[target]}}}}}"}, **mapped}


def _name(column: str, at: int) -> str:
    """What a template can call a column."""
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() and name.lower() not in _RESERVED else f"column_{at}"


def _shown(column: str) -> str:
    """A column's name as a prompt has it, without what a template would read."""
    return re.sub(r"[{}|]+", " ", column).strip()


def _is_told(column: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column holds texts or numbers that say something about a row."""
    values = [row[column] for row in sample if row[column] is not None]
    plain = all(isinstance(value, str | int | float) for value in values)
    return bool(values) and plain and not (_ABOUT.search(column) or _GROUP.match(column))


def _target(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str | None:
    """The column that is learned: by its name, else the last; never one with gaps."""
    full = [c for c in columns if all(row[c] not in (None, "") for row in sample)]
    named = {c.lower(): c for c in full}
    by_name = next((named[name] for name in _TARGETS if name in named), None)
    nested = any(isinstance(value, list | dict) for row in sample for value in row.values())
    return by_name or (full[-1] if full and not nested else None)


def _are_labels(answers: Sequence[str]) -> bool:
    kinds = Counter(answers)
    few = 1 < len(kinds) <= min(_MOST_LABELS, len(answers) // 3)
    return few and max(map(len, kinds)) <= _LONGEST_LABEL and not set(",{") & set("".join(kinds))


def _opened(data: dict[str, Any], model: str) -> tuple[Task, dict[str, Any]]:
    """The task that a recipe would open, with the smallest share held out that has a row."""
    for share in _SHARES:
        recipe = recipe_from_dict({"model": model, "data": data | {"split": {"test": share}}})
        (task,) = open_corpus(recipe).tasks.values()
        if task.test:
            break
    group = _group(task.rows)
    split = {"test": share} | ({"group": group} if group else {})
    return task, data | {"split": split}


def _group(rows: Rows) -> str | None:
    """A column that names who or what several rows are of."""
    for column in rows.columns:
        if _GROUP.match(column):
            values = rows.column(column)
            if None not in values and 10 <= len(set(map(str, values))) < len(values):
                return column
    return None


def _targets(task: Task) -> list[str]:
    """The answers of the training rows, as far as they are looked at."""
    template: Template = task.templates.templates[0]
    found = (template.render(task.rows[i]) for i in task.train[: 40 * _SAMPLE])
    return [one.completion for one in found if one is not None]


def _lines(
    data: Mapping[str, Any], said: _Said, task: Task, model: str, file: Path
) -> Iterator[str]:
    split, targets = data["split"], _targets(task)
    yield f"# {len(task.rows):,} rows; written by `brulee init`, to be changed as you like."
    yield "#"
    yield f"#   brulee data inspect {file}     what the model will see"
    yield f"#   brulee plan {file}             memory, time and disk of every method"
    yield f"#   brulee run {file}              baseline, training, evaluation, report"
    yield "#"
    yield "# What is left out takes its default; `brulee schema` lists every key."
    yield ""
    yield f"model: {_quoted(model)}  # bundled, a Hub id, a folder, or a .gguf file"
    yield ""
    yield "data:"
    yield f"  source: {_quoted(data['source'])}"
    yield from (f"  # {line}" for line in said.comments)
    if "templates" in data:
        yield from _section("templates", data["templates"])
    if "columns" in data:
        yield "  # a template's name: the column's own"
        yield from _section("columns", data["columns"])
    if task.rows.published:
        names = ", ".join(sorted(task.rows.published))
        yield f"  # the source's own splits ({names}) are kept"
    yield "  split:"
    yield f"    test: {split['test']}  # share of the rows that is scored and not trained on"
    if "group" in split:
        yield f"    group: {_quoted(split['group'])}  # rows with one value in it stay on one side"
    else:
        yield "    # group: COLUMN  # rows with one value in it stay on one side"
    yield ""
    yield "method:"
    yield "  name: lora  # `brulee methods list` names the others"
    yield "  rank: 8"
    yield ""
    yield "train:"
    yield "  epochs: 3  # how often each row is seen"
    yield "  batch_size: 8  # documents of a step"
    yield "  max_length: 1024  # tokens; of a longer document the source text is cut"
    yield ""
    yield "evaluate:"
    yield f"  metrics: [{', '.join(_metrics(task, targets))}]"
    yield "  guards: [common-knowledge, plain-prose]  # what must not get worse"
    yield "  guard_limit: 40  # items of each"
    yield "  generation:"
    yield f"    max_new_tokens: {_tokens(targets)}  # what an answer may have"


def _metrics(task: Task, targets: Sequence[str]) -> list[str]:
    if task.labels:
        return ["accuracy", "macro_f1"]
    return ["exact_match"] if _are_labels(targets) else ["rouge", "bleu"]


def _section(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f"  {key}: {_quoted(value)}"
        return
    yield f"  {key}:"
    for name, text in value.items():
        yield f"    {_quoted(name)}: {_quoted(text)}"


def _quoted(text: str) -> str:
    """A text as YAML holds it on one line: bare where it stays what it is."""
    bare = re.fullmatch(r"[A-Za-z0-9_./][\w./-]*", text, re.ASCII) is not None
    return text if bare and yaml.safe_load(text) == text else json.dumps(text, ensure_ascii=False)


def _tokens(targets: Sequence[str]) -> int:
    longest = max(map(len, targets), default=0)
    asked = -(-longest // (3 * _LEAST_TOKENS)) * _LEAST_TOKENS
    return min(max(asked, _LEAST_TOKENS), _MOST_TOKENS)


def default_file(source: str) -> Path:
    """What a recipe for a source is called, in the working directory."""
    last = re.split(r"[/:]", source.rstrip("/"))[-1]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", last.split(".", 1)[0]).strip("-._")
    return Path(f"{stem or 'recipe'}.yaml")
