"""A linter for template sets, for mistakes found in published instruction data.

FLAN (arXiv:2109.01652) had a stray "n" after nine fields, a duplicate template and two strings
merged into one; none of it is noticed until somebody reads a rendered prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from brulee.data.finding import Finding
from brulee.data.instruction import instruction
from brulee.data.lint_rows import Table, check_rows
from brulee.data.lint_text import check_text
from brulee.data.template import Template
from brulee.data.template_text import pieces, prompt_pieces
from brulee.data.templates import TemplateSet

__all__ = ["Finding", "Table", "lint"]


def lint(templates: TemplateSet, rows: Table | None = None) -> list[Finding]:
    """Lint a family of templates, errors first; with `rows`, rendered prompts are checked too.

    An error is certainly wrong; anything that might be intended is a warning.
    """
    found = list(_family(templates))
    for template in templates:
        checks = [*check_text(template), *(check_rows(template, rows) if rows is not None else ())]
        found += [
            replace(f, template=template.name, where=f.where or template.where) for f in checks
        ]
    named = [replace(finding, family=templates.name) for finding in found]
    return sorted(named, key=lambda finding: finding.severity != "error")


def _family(templates: TemplateSet) -> Iterator[Finding]:
    # "family/template" selects from a family and is not a family of one; and if the questions are
    # in the rows, as in chats, the template has no words to overfit to.
    if len(templates) < 2 and "/" not in templates.name and instruction(templates.templates[0]):
        message = "only one phrasing; the model may learn its words instead of the task"
        yield Finding("few-phrasings", "warning", message, templates.templates[0].where)
    twins = set()
    for first, second in _pairs(templates, _exact):
        twins.add(second.name)
        yield _repeat("duplicate-template", first, second, "says the same as")
    for first, second in _pairs(templates, _loose):
        if second.name not in twins:
            twins.add(second.name)
            how = "differs only in punctuation or case from"
            yield replace(_repeat("duplicate-template", first, second, how), severity="warning")
    for first, second in _pairs(templates, _prompt):
        if second.name not in twins:
            how = "asks, in the same words, for something else than"
            yield replace(_repeat("same-prompt", first, second, how), severity="warning")


def _pairs(
    templates: TemplateSet, key: Callable[[Template], str]
) -> Iterator[tuple[Template, Template]]:
    first: dict[str, Template] = {}
    for template in templates:
        earlier = first.setdefault(key(template), template)
        if earlier is not template:
            yield earlier, template


def _repeat(code: str, first: Template, second: Template, how: str) -> Finding:
    message = (
        f"it {how} {first.name!r} ({first.where})" if first.where else f"it {how} {first.name!r}"
    )
    return Finding(code, "error", message, second.where, template=second.name)


def _exact(template: Template) -> str:
    return " ".join([*template.jinja.split(), "\n", *(template.answer_choices or "").split()])


def _loose(template: Template) -> str:
    return f"{_words(template)}\n{' '.join((template.answer_choices or '').lower().split())}"


def _prompt(template: Template) -> str:
    found = prompt_pieces(pieces(template.jinja))
    shows_choices = any("answer_choices" in piece.text for piece in found)
    words = "".join(piece.text for piece in found)
    return f"{' '.join(words.split())}\n{template.answer_choices if shows_choices else ''}"


def _words(template: Template) -> str:
    """The template without punctuation, case or white space, but with its fields unchanged."""
    return "".join(
        re.sub(r"[\W_]+", "", piece.text.replace("|||", "\n").lower())
        if piece.kind == "text"
        else "{" + "".join(piece.text.split()) + "}"
        for piece in pieces(template.jinja)
    )
