"""Writes a starting recipe for a source: its format, its prompts and its metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brulee.data.corpus import open_corpus
from brulee.data.delimited import NamelessError
from brulee.data.encoding import Encoder
from brulee.data.fitting_metrics import metrics_for
from brulee.data.formats import TABLE, Detected, describe, detect, left_out
from brulee.data.guessing import GROUP, SAMPLE, are_labels, guess, says_what, word_count
from brulee.data.messages import CALLS
from brulee.data.packing import TOOLS
from brulee.data.patterns import name_of
from brulee.data.sources import Rows, open_source
from brulee.data.table_hints import families_for
from brulee.data.task import Task
from brulee.data.template import Rendered, Template
from brulee.data.templates import TemplateSet, load_templates
from brulee.data.thoughts import spoken_answer
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict
from brulee.shell import word
from brulee.yaml_lines import comment, quoted

_NAMELESS = "the file's first line names no columns and is read as a row; they are called 1, 2, ..."
_NULL = (
    "keys that an object lacks are learned as null; write the object as JSON text to keep it "
    "unchanged"
)
_SHARES = (0.15, 0.3, 0.5)
_COUNTED = 1000  # rows
_WORKED = "gsm8k/step-by-step-cot"
_NUMBER_LAST = re.compile(r"\n#### *\S+\s*$")
_NAME_WORDS = 4
# Bounds of `max_new_tokens`.
_LEAST_TOKENS, _MOST_TOKENS = 16, 512
_PLAIN = re.compile(r"[A-Za-z\s]")
_TABLE_FILE = re.compile(r"\.[ct]sv(\.\w+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class NewRecipe:
    """A recipe's text, and a description of how it reads the rows, with one rendered row.

    `guessed`: the format is unknown, so the prompt should be reviewed.
    """

    text: str
    described: str
    rows: int
    test: int
    guessed: bool
    task: Task = field(repr=False)

    @property
    def with_tools(self) -> Sequence[int]:
        """Some training rows with tools, which not every model's chat template supports."""
        rows = self.task.rows
        if TOOLS not in rows.columns:
            return ()
        tools = rows.column(TOOLS)
        return [i for i in self.task.train if tools[i]][:SAMPLE]

    def read_by(self, encoder: Encoder) -> None:
        """Encode the rows with tools. Raises InputError if the model supports none of them."""
        reasons: list[InputError] = []
        for row in self.with_tools:
            try:
                self.task.encode(encoder, row, 0, "")
            except InputError as error:
                reasons.append(error)
        if reasons and len(reasons) == len(self.with_tools):
            raise reasons[0]


def start(
    source: str, model: str = "bundled", file: Path = Path("my.yaml"), reads_calls: bool = True
) -> NewRecipe:
    """A commented recipe that trains on a source as it is, to be written to `file`.

    The prompt comes from the format, else from the first library family that fits, else from a
    guess by the columns' names. `reads_calls`: tool calls can be parsed from the model's output.
    Raises InputError for rows that cannot be trained on.
    """
    rows, numbers = _open(source)
    detected = detect(rows, malformed_chats="skip")
    if detected.templates is None and detected.name != TABLE:
        raise InputError(f"{rows.label}: {detected.why}")
    data, said = _phrased(source, rows, detected)
    if numbers:
        said = replace(said, comments=(*said.comments, _NAMELESS))
        data["columns"] = {name: numbers[own] for name, own in _named(data, rows).items()}
    if detected.malformed:
        data["malformed_chats"] = "skip"
        said = replace(said, skipped=left_out(detected))
    task, data = _opened(data, model)
    text = "\n".join([*_lines(data, said, task, model, file, reads_calls), ""])
    phrased = Detected(detected.name, said.why, task.templates, task.rows)
    described = describe(phrased, task.rows[task.train[0]])
    return NewRecipe(text, described, len(task.rows), len(task.test), said.guessed, task)


def _open(source: str) -> tuple[Rows, dict[str, str]]:
    """The rows, and for a file without a header its made-up column names with their numbers.

    Raises InputError if the first line names some of the columns.
    """
    try:
        rows = open_source(source)
        if not (_TABLE_FILE.search(source) and _named_by_a_row(rows)):
            return rows, {}
        width = len(rows.columns)
    except NamelessError as error:
        if any(map(says_what, error.first)):
            raise
        width = len(error.first)
    numbers = {f"column {at}": str(at) for at in range(1, width + 1)}
    return open_source(source, columns=numbers), numbers


def _named_by_a_row(rows: Rows) -> bool:
    """Whether the header is a row: it has a text, and a label that recurs in its column."""
    return any(word_count(column) >= _NAME_WORDS for column in rows.columns) and any(
        column in values and are_labels(values)
        for column in rows.columns
        for values in [list(map(str, rows.column(column)))]
    )


def _named(data: Mapping[str, Any], rows: Rows) -> dict[str, str]:
    """Map the names of columns in a recipe's templates to the rows' own."""
    mapped: dict[str, str] = data.get("columns", {})
    used = load_templates(data["templates"]).columns
    return mapped | {c: c for c in rows.columns if c in used and c not in mapped}


@dataclass(frozen=True)
class _Said:
    """The reason for the choice of templates, the recipe's comments on it, and on skipped chats."""

    why: str
    comments: tuple[str, ...]
    guessed: bool = False
    skipped: str = ""


def _phrased(source: str, rows: Rows, detected: Detected) -> tuple[dict[str, Any], _Said]:
    """The recipe's data section, without the split."""
    if detected.templates is not None:
        if _ends_in_numbers(rows):
            why = "answers end in #### and a number, as those of GSM8K do"
            return {"source": source, "templates": _WORKED}, _Said(why, (why,))
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
    data = {"source": source, **guess(detected)}
    comments = (
        f"guessed from the columns ({', '.join(rows.columns)}): say here what is asked",
        "and what is to be written, with {{column}} for a row's own",
    )
    why = "guessed from the columns' names"
    if data["templates"]["completion"].endswith("| tojson}}") and _lacks_keys(rows):
        why = f"{why}; {_NULL}"
        comments = (*comments, _NULL)
    return data, _Said(why, comments, guessed=True)


def _lacks_keys(rows: Rows) -> bool:
    """Whether an object in the first rows has a null or lacks a key; a table cannot tell which."""

    def lacking(value: Any) -> bool:
        inside = value.values() if isinstance(value, dict) else value
        return any(one is None or (isinstance(one, dict | list) and lacking(one)) for one in inside)

    found = (one for i in range(min(SAMPLE, len(rows))) for one in rows[i].values())
    return any(lacking(one) for one in found if isinstance(one, dict))


def _ends_in_numbers(rows: Rows) -> bool:
    """Whether rows are problems whose solution ends in `#### NUMBER`, as in GSM8K."""
    if not {"question", "answer"} <= set(rows.columns):
        return False
    answers = [rows[i]["answer"] for i in range(min(SAMPLE, len(rows)))]
    return all(isinstance(text, str) and _NUMBER_LAST.search(text) for text in answers)


def _families(rows: Rows) -> list[str]:
    """The library families that fit the first rows."""
    fitting = families_for(rows.columns, rows[0], rows.class_names)
    fitting = [name for name in fitting if _fits(load_templates(name), rows)]
    return sorted(fitting, key=lambda name: _unused(load_templates(name), rows))


def _unused(templates: TemplateSet, rows: Rows) -> int:
    """The number of a family's answer choices that no row has: fewer means a better fit."""
    found = [templates.templates[0].render(rows[i]) for i in range(min(_COUNTED, len(rows)))]
    told = [one for one in found if one is not None and one.choices]
    choices = {choice for one in told for choice in one.choices or ()}
    return len(choices - {one.completion for one in told})


def _fits(templates: TemplateSet, rows: Rows) -> bool:
    try:
        found = [templates.templates[0].render(rows[i]) for i in range(min(SAMPLE, len(rows)))]
    except InputError:
        return False
    return all(one is None or one.completion for one in found)


def _opened(data: dict[str, Any], model: str) -> tuple[Task, dict[str, Any]]:
    """The task that a recipe would open, with the smallest test share that yields a row."""
    for share in _SHARES:
        recipe = recipe_from_dict({"model": model, "data": data | {"split": {"test": share}}})
        (task,) = open_corpus(recipe).tasks.values()
        if task.test:
            break
    group = _group(task.rows)
    split = {"test": share} | ({"group": group} if group else {})
    return task, data | {"split": split}


def _group(rows: Rows) -> str | None:
    """A column by which rows belong together, if any."""
    for column in rows.columns:
        if GROUP.match(column):
            values = rows.column(column)
            if None not in values and 10 <= len(set(map(str, values))) < len(values):
                return column
    return None


def _targets(task: Task) -> list[Rendered]:
    """A sample of rendered rows, test rows first."""
    template: Template = task.templates.templates[0]
    found = (template.render(task.rows[i]) for i in (*task.test, *task.train)[: 40 * SAMPLE])
    return [one for one in found if one is not None]


def _written(one: Rendered) -> str:
    """A text about as long as the answer in a chat template, with the full JSON of its calls."""
    return one.completion + one.answered_with.get(CALLS, "")


def _lines(
    data: Mapping[str, Any], said: _Said, task: Task, model: str, file: Path, reads_calls: bool
) -> Iterator[str]:
    split, targets = data["split"], _targets(task)
    yield f"# {len(task.rows):,} rows; written by `brulee init`, to be changed as you like."
    yield "#"
    yield f"#   brulee data inspect {word(file)}     what the model will see"
    yield f"#   brulee plan {word(file)}             memory, time and disk of every method"
    yield f"#   brulee run {word(file)}              baseline, training, evaluation, report"
    yield "#"
    yield "# What is left out takes its default; `brulee schema` lists every key."
    yield ""
    yield f"model: {quoted(model)}  # bundled, a Hub id, a folder, or a .gguf file"
    yield ""
    yield "data:"
    yield f"  source: {quoted(data['source'])}"
    yield from (f"  {comment(line)}" for line in said.comments)
    if "templates" in data:
        yield from _section("templates", data["templates"])
    if "columns" in data:
        yield "  # a template's name: the column's own"
        yield from _section("columns", data["columns"])
    if said.skipped:
        yield from (f"  {comment(line)}" for line in said.skipped.splitlines())
        yield f"  malformed_chats: {data['malformed_chats']}  # refuse would name the first one"
    if task.rows.published:
        names = ", ".join(sorted(task.rows.published))
        yield f"  # the source's own splits ({names}) are kept"
    yield "  split:"
    yield f"    test: {split['test']}  # share of the rows that is scored and not trained on"
    if not task.rows.published.get("validation"):
        yield "    # validation: 0.1  # share that `brulee sweep` chooses settings by"
    if "group" in split:
        yield f"    group: {quoted(split['group'])}  # rows with one value in it stay on one side"
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
    longer = "a longer text is divided" if task.plain else "of a longer one the source text is cut"
    yield f"  max_length: 1024  # tokens of a document; {longer}"
    yield ""
    yield "evaluate:"
    metrics = metrics_for(task, [*map(spoken_answer, targets)], reads_calls)
    yield f"  metrics: [{', '.join(map(quoted, metrics))}]"
    yield "  guards: [common-knowledge, plain-prose]  # what must not get worse"
    yield "  guard_limit: 40  # items of each; null asks all, which finds smaller losses"
    if task.plain:
        return
    yield "  generation:"
    yield f"    max_new_tokens: {_tokens(list(map(_written, targets)))}  # of an answer at most"


def _section(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f"  {key}: {quoted(value)}"
        return
    yield f"  {key}:"
    for name, text in value.items():
        yield f"    {quoted(name)}: {quoted(text)}"


def _tokens(targets: Sequence[str]) -> int:
    longest = max(map(_length, targets), default=0)
    asked = -(-longest // _LEAST_TOKENS) * _LEAST_TOKENS
    return min(max(asked, _LEAST_TOKENS), _MOST_TOKENS)


def _length(text: str) -> int:
    """An upper estimate of a text's tokens: one per three Latin letters, one per other byte.

    Digits are often single tokens, and characters of other scripts two or three tokens.
    """
    plain = len(_PLAIN.findall(text))
    return -(-plain // 3) + len(text.encode()) - plain


def default_file(source: str) -> Path:
    """The default file name of a recipe for a source, in the working directory."""
    last = source.rstrip("/").rsplit(":", 1)[-1]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name_of(last)).strip("-._")
    return Path(f"{stem or 'recipe'}.yaml")
