"""Checks of a template's text, without rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from brulee.data.finding import Finding, Severity
from brulee.data.template import SEPARATOR, Template
from brulee.data.template_text import VALUE, Piece, names, pieces, readings
from brulee.errors import nearest

# promptsource's names, followed by others that its files use.
_METRICS: Final = (
    *("Accuracy", "BLEU", "ROUGE", "Squad", "Trivia QA", "Pearson Correlation"),
    *("Spearman Correlation", "MultiRC", "AUC", "COQA F1", "Edit Distance"),
    *("Mean Reciprocal Rank", "Other"),
    *("F1", "Exact Match", "Matthews Correlation", "Mean Squared Error"),
)
# The letters that remain of escapes such as \n when the backslash is lost.
_ESCAPES: Final = "nrt"
_SUFFIXES: Final = {"s", "es", "th", "st", "nd", "rd", "ed", "er", "ing", "ly", "ish", "like"}
# Words that never occur twice in a row in English.
_NEVER_TWICE: Final = {"the", "a", "an", "of", "and", "or", "for", "with", "from", "this", "to"}
# The number in `a)` or `12)`, or a printed one at the start of a line or clause.
_ITEM_NUMBER: Final = re.compile(
    rf"(?<!\w)(?:[a-zA-Z](?<!{VALUE})|\d{{1,2}})\Z|(?:\A|\n|[:;,])[ \t]*{VALUE}\Z"
)
_CLOSES: Final = {")": "(", "]": "[", "}": "{", "”": "“"}


def check_text(template: Template) -> Iterator[Finding]:
    """All findings about the text, the answer choices and the metadata of one template."""
    found = pieces(template.jinja)
    for check in _CHECKS:
        yield from check(found)
    yield from _unbalanced(template)
    yield from _label_words(template, found)
    yield from _metrics(template)


def _stray(found: Sequence[Piece]) -> Iterator[Finding]:
    """Find a single letter between a field and the end of a line, or directly before a field."""
    for i, piece in enumerate(found):
        if piece.kind != "text":
            continue
        after = i > 0 and found[i - 1].kind == "field"
        ends = i + 1 == len(found) or found[i + 1].kind == "field"
        stop = r"\Z|" if ends else ""
        match = re.match(rf"([A-Za-z])(?={stop}[ \t]*(?:\r?\n|\|\|\|))", piece.text)
        if after and match and match[1] != "s":
            yield _stray_letter(match[1], "after", found[i - 1], piece.line)
        match = re.search(r"(?<![\w'’\\])([A-Za-z])\Z", piece.text)
        if match and i + 1 < len(found) and found[i + 1].kind == "field":
            yield _stray_letter(match[1], "before", found[i + 1], found[i + 1].line)


def _stray_letter(letter: str, side: str, field: Piece, line: int) -> Finding:
    severity: Severity = "error" if letter in _ESCAPES else "warning"
    hint = f"; a line break that lost its backslash (\\{letter})?" if letter in _ESCAPES else ""
    message = f"the letter {letter!r} stands right {side} {_shown(field)}{hint}"
    return _at(line, "stray-character", severity, message)


def _missing_space(found: Sequence[Piece]) -> Iterator[Finding]:
    for left, right in pairwise(found):
        if left.kind == "text" and _prints_a_column(right):
            match = re.search(r"(?<![\w'’\\/@#$.])[A-Za-z]{2,}\Z", left.text)
            if match:
                message = f"no space between {match[0]!r} and {_shown(right)}"
                yield _at(right.line, "missing-space", "warning", message)
        if right.kind == "text" and _prints_a_column(left):
            match = re.match(r"[A-Za-z]{2,}", right.text)
            if match and match[0] not in _SUFFIXES:
                message = f"no space between {_shown(left)} and {match[0]!r}"
                yield _at(right.line, "missing-space", "warning", message)


def _prints_a_column(piece: Piece) -> bool:
    return piece.kind == "field" and not piece.text.strip().startswith(("'", '"'))


def _merged(found: Sequence[Piece]) -> Iterator[Finding]:
    """Find two strings merged into one: `TEXT:Text:`, `Text:Summary:`, `end.Begin`."""
    for piece in found:
        if piece.kind != "text":
            continue
        for match in re.finditer(r"\b([A-Za-z]{2,}):[ \t]*([A-Za-z]{2,}):(?!/)", piece.text):
            same = match[1].lower() == match[2].lower()
            if same or (": " not in match[0] and ":\t" not in match[0]):
                line = piece.line + piece.text.count("\n", 0, match.start())
                message = f"two labels ran into one: {match[0]!r}"
                yield _at(line, "merged-strings", "error" if same else "warning", message)
        for match in re.finditer(r"\b[a-z]{2,}[.?!][A-Z][a-z]+\b(?! *\()", piece.text):
            line = piece.line + piece.text.count("\n", 0, match.start())
            message = f"no space between the sentences in {match[0]!r}"
            yield _at(line, "merged-strings", "warning", message)


def _doubled(found: Sequence[Piece]) -> Iterator[Finding]:
    for piece in found:
        if piece.kind != "text":
            continue
        for match in re.finditer(r"\b([A-Za-z]+)[ \t]*[ \t\n][ \t]*(?=([a-z]+)\b)", piece.text):
            word = match[2]
            if match[1].lower() == word and match[1] in (word, word.capitalize()):
                line = piece.line + piece.text.count("\n", 0, match.start())
                severity: Severity = "error" if word in _NEVER_TWICE else "warning"
                yield _at(line, "doubled-word", severity, f"the word {word!r} stands twice")


def _trailing_space(found: Sequence[Piece]) -> Iterator[Finding]:
    lines: list[int] = []
    for i, piece in enumerate(found):
        if piece.kind != "text":
            continue
        # Parts are stripped, so spaces next to the separator or at the end do not matter.
        text = re.sub(r"\s*\|\|\|\s*", SEPARATOR, piece.text)
        text = text.rstrip() if i + 1 == len(found) else text
        for match in re.finditer(r"[ \t]+\r?\n", text):
            lines.append(piece.line + text.count("\n", 0, match.start()))
    if lines:
        more = f"; so do {len(lines) - 1} more" if lines[1:] else ""
        yield _at(lines[0], "trailing-space", "warning", f"a line ends in spaces{more}")


def _lost_escape(found: Sequence[Piece]) -> Iterator[Finding]:
    for piece in found:
        match = re.search(r"\\[nt](?![a-z])", piece.text) if piece.kind == "text" else None
        if match:
            message = f"{match[0]} is printed as two characters; write a line break instead"
            yield _at(piece.line, "escape-in-text", "warning", message)


def _unbalanced(template: Template) -> Iterator[Finding]:
    # Prompt and completion together: the completion may close a quote that the prompt opens.
    for text in readings(template):
        problem = _imbalance(text)
        if problem:
            yield Finding("unbalanced", "warning", problem)
            return


def _imbalance(text: str) -> str | None:
    text = re.sub(r"[:;]-?[()]", "", text)  # smileys
    opened: list[str] = []
    for i, character in enumerate(text):
        if character in _CLOSES.values():
            opened.append(character)
        elif character in _CLOSES:
            if opened and opened[-1] == _CLOSES[character]:
                opened.pop()
            elif not _ITEM_NUMBER.search(text, 0, i):
                return f"{character!r} closes nothing: {_around(text, i)!r}"
    if opened:
        return f"{opened[-1]!r} is never closed"
    return 'a double quote (") has no partner' if text.count('"') % 2 else None


def _static_choices(template: Template) -> list[str] | None:
    """The answer choices if they are the same for every row, else None."""
    choices = template.answer_choices
    if choices is None or "{{" in choices or "{%" in choices:
        return None
    return [choice.strip() for choice in choices.split(SEPARATOR)]


def _label_words(template: Template, found: Sequence[Piece]) -> Iterator[Finding]:
    choices = _static_choices(template)
    if choices is not None:
        yield from repeated_choices(choices)
    if template.answer_choices is None:
        return
    if "answer_choices" not in names(found) and not _is_one_field(template):
        message = "answer_choices are declared and never used"
        yield Finding("unused-choices", "warning", message)


def _is_one_field(template: Template) -> bool:
    """Whether the completion is only a printed value, which may be one of the choices."""
    return any(text.rpartition(SEPARATOR)[2].strip() == VALUE for text in readings(template))


def repeated_choices(choices: Sequence[str]) -> Iterator[Finding]:
    """Findings about empty or repeated answer choices."""
    if "" in choices:
        yield Finding("empty-choice", "error", f"one of {len(choices)} answer choices is empty")
    repeated = [c for c, count in Counter(choices).items() if c and count > 1]
    if repeated:
        # Mapping three labels to two words may be intended, so this is not an error.
        message = f"the answer choice {repeated[0]!r} is given twice"
        yield Finding("repeated-choice", "warning", message)


def _metrics(template: Template) -> Iterator[Finding]:
    for metric in template.metadata.metrics:
        if metric not in _METRICS:
            close = nearest(metric, _METRICS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(_METRICS)}"
            yield Finding("unknown-metric", "warning", f"the metric {metric!r} is unknown{hint}")


def _at(line: int, code: str, severity: Severity, message: str) -> Finding:
    return Finding(code, severity, f"{message} (line {line} of its text)")


def _shown(field: Piece) -> str:
    return "{{" + " ".join(field.text.split()) + "}}"


def _around(text: str, i: int) -> str:
    return " ".join(text[max(0, i - 20) : i + 5].split())


_CHECKS: Final[tuple[Callable[[Sequence[Piece]], Iterator[Finding]], ...]] = (
    _stray,
    _missing_space,
    _merged,
    _doubled,
    _trailing_space,
    _lost_escape,
)
