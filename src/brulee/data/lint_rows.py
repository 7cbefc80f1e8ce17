"""Checks of a template's renderings of given rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from brulee.data.finding import Finding, Severity
from brulee.data.lint_text import repeated_choices
from brulee.data.template import Rendered, Template
from brulee.data.template_text import names, pieces, prompt_pieces
from brulee.errors import InputError, nearest

# Jinja's error for `words[5]` in a list of three, or `{...}[label]` for a missing label.
_NOT_COVERED = re.compile(r"^'?(list|dict|tuple|str) object'? has no (element|attribute) (.+?);")
_INDEX = re.compile(r"answer_choices\[\s*(\w+)")


class Table(Protocol):
    """The interface of rows for the linter; `brulee.data.sources.Rows` implements it."""

    @property
    def name(self) -> str:
        """The name of the file or data set."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Mapping[str, Any]: ...

    def place(self, i: int) -> str:
        """The location of row i, for messages."""


@dataclass(frozen=True)
class _Shown:
    """One row and its rendering."""

    row: Mapping[str, Any]
    place: str
    rendered: Rendered


def check_rows(template: Template, rows: Table) -> Iterator[Finding]:
    """All findings about one template on these rows; each kind once, with its first row."""
    missing = list(_missing_columns(template, rows))
    yield from missing
    if any(finding.severity == "error" for finding in missing):
        return
    shown: list[_Shown] = []
    per_row: list[Finding] = []
    for i in range(len(rows)):
        row, place = rows[i], rows.place(i)
        try:
            rendered = template.render(row, str(i))
        except InputError as error:
            per_row.append(_failure(template, error, place))
            continue
        if rendered is not None:
            shown.append(_Shown(row, place, rendered))
            per_row += [replace(f, where=place) for f in _check_row(template, shown[-1])]
    yield from _once_each(per_row)
    if not shown and not per_row and len(rows):
        message = f"it applies to none of {len(rows)} rows"
        yield Finding("never-applies", "warning", message, rows.name)
    if shown:
        yield from _leak(template, shown)
        yield from _choices_flag(template, shown)


def _missing_columns(template: Template, rows: Table) -> Iterator[Finding]:
    present = {name for c in rows.columns for name in (c, c.replace("-", "_"))}
    # Jinja reports a name that only one branch sets as undeclared.
    set_inside = frozenset(re.findall(r"{%-?\s*set\s+(\w+)", template.jinja)) - template.required
    for column in sorted(template.columns - template.chat_columns - present - set_inside):
        close = nearest(column, rows.columns, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        listed = f"the rows have {', '.join(rows.columns)}"
        message = f"the column {column!r} does not exist{hint} ({listed})"
        severity: Severity = "error" if column in template.required else "warning"
        yield Finding("missing-column", severity, message, rows.name)


def _failure(template: Template, error: InputError, place: str) -> Finding:
    reason = str(error).removeprefix(f"{template.label}: ")
    match = _NOT_COVERED.match(reason)
    if match is None:
        return Finding("does-not-render", "error", reason, place)
    message = f"no label word for {match[3]}: the {match[1]} of words has none there"
    return Finding("label-not-covered", "error", message, place)


def _check_row(template: Template, shown: _Shown) -> Iterator[Finding]:
    completion, choices = shown.rendered.completion, shown.rendered.choices
    index = _INDEX.search(template.jinja)
    label = shown.row.get(index[1]) if index else None
    if isinstance(label, int) and label < 0 and completion:
        message = f"the label {label} (no label) is answered, with {_short(completion)}"
        yield Finding("negative-label", "error", message)
    if choices is not None:
        yield from repeated_choices(choices)
        if completion and completion not in choices:
            listed = ", ".join(map(_short, choices[:5]))
            message = f"the completion {_short(completion)} is not among its choices ({listed})"
            yield Finding("completion-not-a-choice", "error", message)
    answer = template.columns - template.chat_columns - set(template.source_columns)
    if not completion and answer and all(_is_labelled(shown.row, c) for c in answer):
        message = f"the row has {', '.join(sorted(answer))} and still no completion"
        yield Finding("empty-completion", "warning", message)


def _is_labelled(row: Mapping[str, Any], column: str) -> bool:
    values = {name.replace("-", "_"): value for name, value in row.items()}
    return values.get(column) not in (None, "", -1, [], {})


def _once_each(found: Sequence[Finding]) -> Iterator[Finding]:
    for code in dict.fromkeys(finding.code for finding in found):
        same = [finding for finding in found if finding.code == code]
        others = len({finding.where for finding in same}) - 1
        more = f" (so with {others} more rows)" if others else ""
        yield replace(same[0], message=same[0].message + more)


def _leak(template: Template, shown: Sequence[_Shown]) -> Iterator[Finding]:
    """Report completions that are in the prompt because it prints the answer's column."""
    if template.metadata.original_task is False:
        return
    prompt = prompt_pieces(pieces(template.jinja))
    answers = (template.columns - set(template.source_columns)) & names(prompt)
    said = " ".join(piece.text for piece in prompt if piece.kind == "text")
    labelled = [one for one in shown if one.rendered.completion]
    leaks = [one for one in labelled if _leaks(one, template, answers, said)]
    if len(leaks) * 2 > len(labelled):
        message = f"the prompt holds the completion {_short(leaks[0].rendered.completion)}"
        counted = f"{message} ({len(leaks)} of {len(labelled)} rows)"
        severity: Severity = "error" if template.metadata.original_task else "warning"
        yield Finding("target-leaks", severity, counted, leaks[0].place)


def _leaks(shown: _Shown, template: Template, answers: frozenset[str], said: str) -> bool:
    completion, choices = shown.rendered.completion, shown.rendered.choices
    if choices is not None or not _holds(shown.rendered.prompt, completion):
        return False
    values = {name.replace("-", "_"): value for name, value in shown.row.items()}
    offered = [values.get(name) for name in answers]
    # Several texts or a list, of which the completion is one, are options to choose from.
    if any(isinstance(value, (list, dict)) for value in offered):
        return False
    if sum(isinstance(v, str) and _holds(shown.rendered.prompt, v) for v in offered) > 1:
        return False
    # An extractive answer is part of the source text.
    sources = [text for name in template.source_columns for text in _texts(values.get(name))]
    return not any(_holds(text, completion) for text in [said, *sources])


def _choices_flag(template: Template, shown: Sequence[_Shown]) -> Iterator[Finding]:
    flag = template.metadata.choices_in_prompt
    asked = [one for one in shown if one.rendered.choices and len(one.rendered.choices) > 1]
    if flag is None or not asked:
        return
    if flag:
        hidden = [one for one in asked if not _shows(one.rendered.prompt, _ends(one.rendered))]
        if len(hidden) == len(asked):
            message = "choices_in_prompt is true, but the prompt does not show them all"
            yield Finding("choices-not-shown", "warning", message, hidden[0].place)
    elif all(_shows(_offer(one, template), one.rendered.choices or ()) for one in asked):
        message = "choices_in_prompt is false, but the prompt shows them all"
        yield Finding("choices-shown", "warning", message, asked[0].place)


def _shows(prompt: str, choices: Sequence[str]) -> bool:
    words = f" {_plain(prompt)} "
    return all(_holds_words(prompt, words, choice) for choice in choices)


def _ends(rendered: Rendered) -> Sequence[str]:
    """The choices to look for: "from 1 to 5" implies the numbers between."""
    choices = rendered.choices or ()
    numbers = all(choice.isdecimal() for choice in choices)
    return (choices[0], choices[-1]) if numbers and choices else choices


def _offer(shown: _Shown, template: Template) -> str:
    """The parts of the prompt that can list choices, without the source texts."""
    found = prompt_pieces(pieces(template.jinja))
    if not names(found) & {"answer_choices", *template.choice_columns}:
        return " ".join(piece.text for piece in found if piece.kind == "text")
    values = {name.replace("-", "_"): value for name, value in shown.row.items()}
    prompt = shown.rendered.prompt
    for name in set(template.source_columns) - template.choice_columns:
        for text in filter(None, _texts(values.get(name))):
            prompt = prompt.replace(text, " ")
    return prompt


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        yield " ".join(text for item in value for text in _texts(item))
    elif value is not None:
        yield str(value)


def _holds(text: str, part: str) -> bool:
    """Whether a text contains the words of another, as whole words."""
    return _holds_words(text, f" {_plain(text)} ", part)


def _holds_words(text: str, words: str, part: str) -> bool:
    wanted = _plain(part)
    # Symbols such as `+` have no words.
    return f" {wanted} " in words if wanted else bool(part.strip()) and part.strip() in text


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
