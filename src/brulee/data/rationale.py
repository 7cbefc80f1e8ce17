"""Selects the templates of a family with, or without, reasoning before the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from brulee.data.template import Template
from brulee.data.templates import TemplateSet
from brulee.errors import InputError

Rationale = Literal["any", "with", "without"]


def select(templates: TemplateSet, rationale: Rationale) -> TemplateSet:
    """The templates with reasoning before the answer ("with"), or with an answer only ("without").

    This is read from their metadata. Inverted templates are in neither set: they pose another task,
    so scores with and without reasoning would not be comparable. "any" returns the set unchanged.
    Raises InputError with the counts of each kind if none is left.
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
