"""The instruction of a template: its text without that of the row."""

from __future__ import annotations

from brulee.data.template import Template
from brulee.data.template_text import pieces, prompt_pieces


def instruction(template: Template) -> str:
    """The literal text of the prompt part on one line; "" if the prompt is only fields."""
    found = prompt_pieces(pieces(template.jinja))
    return " ".join(" ".join(piece.text for piece in found if piece.kind == "text").split())
