"""Guesses a prompt for a table of unknown format from its columns, for the user to review."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from brulee.data import strict_json
from brulee.data.formats import Detected
from brulee.data.multiple_choice import flat, readings
from brulee.data.row_checks import MOST_EMPTY
from brulee.data.rows import Rows
from brulee.data.sentence_pairs import Side, pair_in
from brulee.data.template import SEPARATOR
from brulee.data.templates import load_templates
from brulee.data.words import words
from brulee.data.written_chats import are_written_out
from brulee.errors import InputError

SAMPLE = 50
# Usual names of the completion's column, the most reliable first.
_TARGETS = (
    *("completion", "response", "answer", "output", "target", "summary", "translation", "label"),
    *("labels", "class", "category", "intent", "sentiment", "stars", "rating", "score", "reply"),
)
_REPLIES = ("reply", "response")
_ANYTHING = frozenset(("text", "body", "content", "value", "string"))
# A column by which rows belong together, such as a customer or a conversation.
GROUP = re.compile(
    r"(user|customer|client|author|conversation|session|thread|ticket|group|document|doc)(_?id)?$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(^|_)(id|idx|index|uuid|guid|url|date|time|timestamp|created_at)$", re.IGNORECASE
)
# Names reserved in Jinja.
_RESERVED = frozenset(
    (
        *("and", "as", "dict", "else", "for", "from", "if", "import", "in", "is", "loop"),
        *("none", "not", "or", "range", "self", "true", "false", "with"),
    )
)
_MOST_LABELS, _LONGEST_LABEL = 20, 40
_TEXT_WORDS, _LONG_WORDS = 8, 4
# Columns of lists of which one is right, and of words.
_EITHER = frozenset(
    ("answer", "answers", "aliases", "references", "candidates", "choices", "options", "history")
)
_WORDS = frozenset(("tokens", "words"))


def guess(detected: Detected) -> dict[str, Any]:
    """`templates` with one column as completion and the others as prompt, and `columns` if needed.

    If the completion's column holds labels, they are the answer choices, by class name where the
    source has these. A single column of objects is the completion, as JSON; so is a single column
    of JSON texts. Lists of texts are joined. Sentence pairs are translated from the first language
    into the second.

    Raises InputError, with the format's advice, if no prompt or completion is found.
    """
    rows = detected.rows
    names: dict[str, str] = {}
    for at, column in enumerate(rows.columns, 1):
        name = _name(column)
        taken = name in names.values() or (name != column and name in rows.columns)
        names[column] = f"column_{at}" if taken or not name else name
    sample = [rows[i] for i in range(min(SAMPLE, len(rows)))]
    if sides := pair_in(sample):
        return _translated(sides, names, rows)
    if chosen := _chosen(sample, rows):
        return chosen
    return _from_columns(detected, names, sample)


def _from_columns(
    detected: Detected, names: Mapping[str, str], sample: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One column as completion, the others as prompt."""
    rows = detected.rows
    lists = _lists(sample)
    sample = [_joined(row, lists) for row in sample]
    told = [c for c in rows.columns if _is_told(c, sample)]
    records = [c for c in rows.columns if all(_is_record(row[c]) for row in sample)]
    target = records[0] if len(records) == 1 else _target(rows.label, told, sample)
    asked = [c for c in told if c != target and any(isinstance(r[c], str) for r in sample)]
    asked = asked or [c for c in rows.columns if c != target and _are_short_texts(c, sample)]
    if target is None or not asked:
        raise InputError(f"{rows.label}: {detected.why}")
    _check_written_out(rows.label, target, sample)
    own = {c: f"({names[c]} or []) | select | join({lists[c]!r})" for c in lists}
    written = {**names, **own, **{c: f"{names[c]} | tojson" for c in records}}
    answers = [text for row in rows if (text := _text(_joined(row, lists)[target]))]
    classes = rows.class_names.get(target, ())
    labels = list(classes) or (sorted(set(answers)) if are_labels(answers) else [])
    write = target in lists or _are_texts(answers[:SAMPLE])
    templates = {
        "prompt": "\n\n".join([*_listed(asked, written), _asking(target, labels, write)]),
        "completion": f"{{{{{written[target]}}}}}",
    }
    if classes:
        templates["completion"] = f"{{{{answer_choices[{names[target]}]}}}}"
    known = f"{names[target]} is not none" + f" and {names[target]} >= 0" * bool(classes)
    if any(value is None or (classes and value < 0) for value in rows.column(target)):
        templates["completion"] = f"{{% if {known} %}}{templates['completion']}{{% endif %}}"
    if labels:
        templates["answer_choices"] = f" {SEPARATOR} ".join(labels)
    return {"templates": templates} | _mapped([*asked, target], names)


def _listed(columns: Sequence[str], written: Mapping[str, str]) -> list[str]:
    """What a prompt says of columns: each with its name, or the only one alone."""
    if len(columns) == 1:
        return [f"{{{{{written[columns[0]]}}}}}"]
    return [f"{_shown(column)}: {{{{{written[column]}}}}}" for column in columns]


def _asking(target: str, labels: Sequence[str], write: bool) -> str:
    """The prompt's last line, which asks for a column."""
    shown = _shown(target).rstrip("?!.: ")
    one_of = f" Answer with one of: {', '.join(labels)}." * (0 < len(labels) <= _MOST_LABELS)
    return (f"Write the {shown}." if write else f"What is the {shown}?") + one_of


def _translated(sides: Sequence[Side], names: dict[str, str], rows: Rows) -> dict[str, Any]:
    """A translation into the second language, of rows with a text in both."""
    for side in sides:
        if side.field is not None:
            name = _name(side.field)
            taken = not name or name in names.values() or name in rows.columns
            own = f"{names[side.column]}_{side.language.lower()}"
            names[side.source] = own if taken else name
    told = ["{{" + names[side.source] + "}}" for side in sides]
    told[0] = f"Translate from {sides[0].language} into {sides[1].language}:\n\n{told[0]}"
    if any(side.of(row) is None for row in rows for side in sides):
        # Each tests only its own side: rows are split by the columns that only the prompt reads.
        told = [
            f"{{% if {names[side.source]} %}}{text}{{% endif %}}"
            for side, text in zip(sides, told, strict=True)
        ]
    templates = dict(zip(("prompt", "completion"), told, strict=True))
    return {"templates": templates} | _mapped([side.source for side in sides], names)


def _chosen(sample: Sequence[Mapping[str, Any]], every: Rows) -> dict[str, Any]:
    """A multiple-choice question; empty if the rows are none."""
    for columns, templates in readings(sample, every):
        template = load_templates(templates).templates[0]
        read = [{n: row.get(c) for n, c in columns.items()} for row in map(flat, sample)]
        try:
            found = [template.render(row) for row in read]
        except InputError:
            continue
        told = [one for one in found if one is not None and one.completion]
        if told:
            mapped = {name: source for name, source in columns.items() if name != source}
            return {"templates": templates} | ({"columns": mapped} if mapped else {})
    return {}


def _mapped(columns: Sequence[str], names: Mapping[str, str]) -> dict[str, Any]:
    """`columns` of a recipe for those whose name in the templates is not their own."""
    used = {names[c]: c for c in columns if names[c] not in (c, c.replace("-", "_"))}
    return {"columns": used} if used else {}


def _check_written_out(label: str, target: str, sample: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError if the completion would be chats written out as text."""
    texts = [row[target] for row in sample if isinstance(row[target], str)]
    if are_written_out(texts):
        raise InputError(
            f"{label}: the column {target!r} holds chats written out as text, with questions that "
            "would be learned as well; write each as a list of turns in a column 'messages'."
        )


def _lists(sample: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns of lists of texts, such as labels or steps, and what to join each with.

    Not those whose lists are alternatives, or words with a label each.
    """
    found = {}
    for column in sample[0] if sample else ():
        lists = [row[column] for row in sample if row[column] is not None]
        texts = [text for held in lists if isinstance(held, list) for text in held]
        are_lists = all(isinstance(held, list) for held in lists)
        if texts and are_lists and all(isinstance(text, str | None) for text in texts):
            texts = [text for text in texts if text]
            found[column] = "\n" if _are_texts(texts, least=_LONG_WORDS) else ", "
    return {} if found.keys() & _WORDS else {c: s for c, s in found.items() if c not in _EITHER}


def _joined(row: Mapping[str, Any], lists: Mapping[str, str]) -> dict[str, Any]:
    return {**row, **{c: between.join(filter(None, row[c] or ())) for c, between in lists.items()}}


def _name(column: str) -> str:
    """A name for a column that is valid in a template; "" if there is none."""
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() and name.lower() not in _RESERVED else ""


def _shown(column: str) -> str:
    """A column's name for a prompt, without template syntax."""
    return re.sub(r"[{}|]+", " ", column).strip()


def _is_told(column: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column holds texts or numbers with content, not ids or dates."""
    values = [row[column] for row in sample if row[column] not in (None, "")]
    plain = all(isinstance(value, str | int | float) for value in values)
    names = _ABOUT.search(column) or (GROUP.match(column) and not _are_texts(values))
    return bool(values) and plain and not names


def _is_record(value: Any) -> bool:
    """Whether a value is an object with scalar fields, not only lists like SQuAD's answers."""
    return isinstance(value, dict) and any(isinstance(v, str | int | float) for v in value.values())


def _are_short_texts(column: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column that is called like a group ("ticket") may hold the texts themselves."""
    values = [row[column] for row in sample if isinstance(row[column], str)]
    return bool(GROUP.match(column)) and _are_texts(values, least=2)


def _are_texts(values: Sequence[Any], least: int = _TEXT_WORDS) -> bool:
    """Whether values are texts: a column called "document" may hold texts or names of documents."""
    count = sum(word_count(str(value)) >= least for value in values)
    return count > len(values) / 2 and not any("://" in str(value)[:12] for value in values)


def _target(name: str, columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str | None:
    """The completion's column: by its name, else the only one of labels or of JSON, else the last.

    Raises InputError if a column suits by name or as JSON but has too many gaps.
    """
    # A few empty answers are dropped later; more are an error.
    nearly = [c for c in columns if _gaps(c, sample) <= MOST_EMPTY * len(sample)]
    named = {c.lower(): c for c in nearly}
    # Exact names before longer ones with the word ("expected output", "answer_text").
    ending = {_head(c): c for c in reversed(nearly)}
    by_name = next(
        (found[name] for found in (named, ending) for name in _TARGETS if name in found), None
    )
    nested = any(isinstance(value, list | dict) for row in sample for value in row.values())
    if by_name:
        # Prefer the text of a reply to a label.
        replies = [c for c in nearly if _head(c) in _REPLIES and _are_texts([r[c] for r in sample])]
        kinds = are_labels([_text(row[by_name]) for row in sample])
        return replies[-1] if replies and kinds else by_name
    labels = [c for c in nearly if are_labels([t for row in sample if (t := _text(row[c]))])]
    written = [c for c in columns if _is_written_json([_text(row[c]) for row in sample])]
    for column in columns:
        seems = column.lower() in _TARGETS or (len(labels) != 1 and [column] == written)
        if seems and column not in nearly:
            count = sum(row[column] in (None, "") for row in sample)
            raise InputError(
                f"{name}: the column {column!r} seems to be the completion, but {count} of the "
                f"first {len(sample)} rows leave it empty; remove such rows from the file, or set "
                "the completion in data.templates: {prompt: ..., completion: ...}."
            )
    if nested:
        return None
    return next((one[0] for one in (labels, written, nearly[-1:]) if len(one) == 1), None)


def _is_written_json(texts: Sequence[str]) -> bool:
    """Whether at least half of the texts are JSON objects, and the others empty."""
    try:
        objects = [isinstance(strict_json.read(text), dict) for text in texts if text]
    except strict_json.NotJsonError:
        return False
    return all(objects) and 2 * len(objects) >= len(texts) > 0


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def says_what(name: str) -> bool:
    """Whether a cell is a usual name of a column."""
    return name.strip().lower() in {*_TARGETS, *_ANYTHING}


def _gaps(column: str, sample: Sequence[Mapping[str, Any]]) -> int:
    return sum(row[column] in (None, "") for row in sample)


def _head(column: str) -> str:
    """The last word of a column's name that is not generic, such as "text" or "value"."""
    words = [word for word in re.split(r"[\W_]+", column.lower()) if word]
    telling = [word for word in words if word not in _ANYTHING]
    return telling[-1] if telling else ""


def are_labels(answers: Sequence[str]) -> bool:
    """Whether these are few distinct short texts, each on average three times or more."""
    kinds = Counter(answers)
    few = 1 < len(kinds) <= min(_MOST_LABELS, len(answers) // 3)
    return few and max(map(len, kinds)) <= _LONGEST_LABEL and not set(",{") & set("".join(kinds))


def word_count(text: str) -> int:
    """The number of words; in scripts without spaces, each letter is one."""
    parts = text.split()
    return sum(1 if part.isascii() else max(1, len(words(part))) for part in parts)
