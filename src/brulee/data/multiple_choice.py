"""Multiple-choice questions in tables: where the question, the options and the answer are.

Options are a list, an object of lettered texts, an object or a list with `text` and `label`, or a
column each. The answer is a letter, another label, a number from 0 or 1, or an option's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from brulee.data.template import SEPARATOR

_QUESTION = ("question", "stem", "query", "problem", "prompt", "sentence", "goal")
_OPTIONS = ("options", "choices", "endings", "candidates")
_ANSWER = (
    *("answer", "answer_key", "answerkey", "answer_idx", "answer_index", "correct_answer"),
    *("correct_option", "correct", "gold", "target", "label", "cop"),
)
_PASSAGE = ("context", "passage", "article", "paragraph", "story")
# A column of one option: opa, option_b, "Choice 1", or C.
_ONE_EACH = re.compile(r"(op|opt|option|choice|ending|sol)?[_ ]?([a-j]|\d)", re.IGNORECASE)
_ORDERS = (ascii_uppercase[:10], "0123456789", "123456789")
_LETTERS = f"'{_ORDERS[0]}'"
_UNKNOWN = (None, "", -1, "-1")  # answers of rows that are not labelled


class Read(NamedTuple):
    """A way to read rows: the names in the Jinja with their sources, and the Jinja.

    A source is a column or, in a column of objects, `column.field`.
    """

    columns: dict[str, str]
    templates: dict[str, str]


class _Options(NamedTuple):
    """Expressions of the list of options, of their labels, if these are not letters, and of each.

    `each` is empty if rows have different numbers of options; `whole` is then the list with those
    that a row leaves empty.
    """

    columns: dict[str, str]
    texts: str
    labels: str | None = None
    each: tuple[str, ...] = ()
    whole: str = ""


def one_each(columns: Sequence[str]) -> list[str]:
    """The columns that hold an option each, in order; none if there are fewer than two."""
    series: dict[str, dict[str, str]] = {}
    for column in columns:
        if match := _ONE_EACH.fullmatch(column):
            series.setdefault((match[1] or "").lower(), {})[match[2].upper()] = column
    for found in series.values():
        for order in _ORDERS:
            if len(found) > 1 and found.keys() == set(order[: len(found)]):
                return [found[at] for at in order[: len(found)]]
    return []


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns and, as `column.field`, the fields of its objects."""
    inside = {
        f"{column}.{field}": held
        for column, value in row.items()
        if isinstance(value, dict)
        for field, held in value.items()
    }
    return {**row, **inside}


def readings(
    sample: Sequence[Mapping[str, Any]], every: Iterable[Mapping[str, Any]]
) -> Iterator[Read]:
    """Ways to read rows as multiple-choice questions by a sample; they have to be tried on rows.

    The prompt is a passage, if there is one, the question and the lettered options, the completion
    a letter.
    """
    rows = [flat(row) for row in sample]
    own = {_plain(name): name for row in rows[:1] for name in reversed(row)}
    question = next((own[name] for name in _QUESTION if _is_text(rows, own.get(name))), None)
    options = _options(rows, own)
    if question is None or options is None:
        return
    named = [name for name in _ANSWER if name in own]
    told: dict[str, list[Any]] = {name: [] for name in named}
    complete = True
    for row in map(flat, every):
        complete = complete and _is_complete(row, options)
        for name in named:
            told[name].append(row.get(own[name]))
    options = options._replace(whole="") if complete else options._replace(each=())
    columns = {"question": question, **options.columns}
    passage = next((own[n] for n in _PASSAGE if n != question and _is_text(rows, own.get(n))), None)
    if passage is not None:
        columns["passage"] = passage
    for name in named:
        if own[name] not in columns.values():
            held = [one for one in told[name] if one not in _UNKNOWN]
            gaps = [one for one in _UNKNOWN if one in told[name]]
            for place in _places(held[: len(rows)], _least(held), options):
                yield Read(columns | {"answer": own[name]}, _phrased(options, place, passage, gaps))


def _plain(name: str) -> str:
    """A column's or field's own name in lower case, with `_` between its words."""
    return re.sub(r"[\s_-]+", "_", name.rsplit(".", 1)[-1].strip().lower())


def _phrased(
    options: _Options, place: str, passage: str | None, gaps: Sequence[Any]
) -> dict[str, str]:
    option = f"{{{{label}}}}. {{{{({options.texts})[loop.index0]}}}}\n"
    listed = f"{{% for label in answer_choices %}}{option}{{% endfor %}}"
    labels = f"{{{{{_LETTERS}[:({options.texts}) | length] | list | join('|||')}}}}"
    if options.each:
        letters = _ORDERS[0][: len(options.each)]
        pairs = zip(letters, options.each, strict=True)
        listed = "".join(f"{letter}. {{{{{text}}}}}\n" for letter, text in pairs)
        labels = f" {SEPARATOR} ".join(letters)
    answer = f"{{{{answer_choices[{place}]}}}}"
    known = "answer is not none" if gaps == [None] else f"answer not in {_written(gaps)}"
    before = "" if passage is None else "{{passage}}\n\n"
    return {
        "prompt": f"{before}{{{{question}}}}\n{listed}\nAnswer with the letter.",
        "completion": f"{{% if {known} %}}{answer}{{% endif %}}" if gaps else answer,
        "answer_choices": labels,
    }


def _options(rows: Sequence[Mapping[str, Any]], own: Mapping[str, str]) -> _Options | None:
    for name in (name for name in _OPTIONS if name in own):
        held: list[Any] = [row.get(own[name]) for row in rows]
        columns = {"options": own[name]}
        if all(_are_texts(value) for value in held):
            return _Options(columns, "options")
        if all(isinstance(value, dict) and _are_texts(value.get("text")) for value in held):
            return _Options(columns, "options.text", "options.label")
        if all(isinstance(value, list) and all(map(_is_labelled, value)) for value in held):
            texts, labels = (f"options | map(attribute='{a}') | list" for a in ("text", "label"))
            return _Options(columns, texts, labels)
        if all(isinstance(value, dict) and one_each([*value]) for value in held):
            return _of_each(columns, [f"options[{key!r}]" for key in one_each([*held[0]])])
    columns = {f"option_{at}": column for at, column in enumerate(one_each([*rows[0]]), 1)}
    return _of_each(columns, [*columns]) if columns else None


def _of_each(columns: dict[str, str], each: Sequence[str]) -> _Options:
    whole = f"[{', '.join(each)}]"
    texts = f"{whole} | reject('in', [none, '']) | list"
    return _Options(columns, texts, each=tuple(each), whole=whole)


def _is_complete(row: Mapping[str, Any], options: _Options) -> bool:
    """Whether a flat row has a text for each of the options."""
    held = [row.get(column) for column in options.columns.values()]
    texts = [text for one in held for text in (one.values() if isinstance(one, dict) else [one])]
    return not any(text in (None, "") for text in texts)


def _places(answers: Sequence[Any], least: int | None, options: _Options) -> Iterator[str]:
    """Expressions of the right option's number, from 0, that suit all the answers.

    `least` is the smallest number of all rows. An option's text is tried before its number, as
    options may be numbers.
    """

    def place(number: str) -> str:
        own = f"{options.whole}[{number}]"
        return f"({options.texts}).index({own})" if options.whole else number

    texts = all(isinstance(answer, str) for answer in answers)
    if not answers:
        return
    if texts and all(len(answer) == 1 and answer.upper() in _LETTERS for answer in answers):
        yield place(f"{_LETTERS}.index(answer | upper)")
    if texts and options.labels is not None:
        yield f"({options.labels}).index(answer)"
    if texts:
        yield f"({options.texts}).index(answer)"
    if least is not None and least >= 0 and all(_is_number(answer) for answer in answers):
        yield place("(answer | int) - 1" if least else "answer | int")


def _least(answers: Sequence[Any]) -> int | None:
    return min((int(answer) for answer in answers if _is_number(answer)), default=None)


def _written(values: Sequence[Any]) -> str:
    return f"[{', '.join('none' if value is None else repr(value) for value in values)}]"


def _is_text(rows: Sequence[Mapping[str, Any]], column: str | None) -> bool:
    return column is not None and all(isinstance(row.get(column), str) for row in rows)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value)


def _is_labelled(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("text", "label"))


def _is_number(value: Any) -> bool:
    """Whether a value is a whole number; tables with gaps hold these as floats."""
    if isinstance(value, bool | float):
        return isinstance(value, float) and value.is_integer()
    return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
