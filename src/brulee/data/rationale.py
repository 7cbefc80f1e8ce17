"""The templates of a family whose completion has its reasoning before the answer, or the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from brulee.data.template import Template
from brulee.data.templates import TemplateSet
from brulee.errors import InputError

Rationale = Literal["any", "with", "without"]


def select(templates: TemplateSet, rationale: Rationale) -> TemplateSet:
    """The templates that reason before they answer ("with"), those that only answer ("without").

    A template's metadata says which it is. Inverted templates are in neither: they answer something
    else, so that scores with and without reasoning could not be compared. "any" keeps the set as it
    is. Raises InputError saying what there is where none is left.
    """
    if rationale == "any":
        return templates
    original = [t for t in templates if t.metadata.original_task is not False]
    reasons = rationale == "with"
    kept = tuple(t for t in original if (t.metadata.rationale is True) == reasons)
    if not kept:
        raise InputError(_nothing_left(templates, rationale, original))
    return replace(templates, templates=kept)


def _nothing_left(
    templates: TemplateSet, rationale: Rationale, original: Iterable[Template]
) -> str:
    reasoning = sum(t.metadata.rationale is True for t in original)
    answering = sum(t.metadata.rationale is not True for t in original)
    inverted = len(templates) - reasoning - answering
    return (
        f"rationale {rationale}: no template of {templates.name} is left; it has {reasoning} that "
        f"reason before the answer (metadata rationale: true), {answering} that only answer, and "
        f"{inverted} inverted."
    )
