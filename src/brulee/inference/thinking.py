"""Separates reasoning from the answer in a text while it is generated.

generated  "<thi" "nk>He" " asks</" "think>" "It is"
thoughts   ""     "He"    " asks"  ""       ""
answer     ""     ""      ""       ""       "It is"
"""

from __future__ import annotations

from dataclasses import dataclass

from brulee.data.thoughts import Thoughts


@dataclass(frozen=True)
class Told:
    """New text of the reasoning, and new text of the answer."""

    thoughts: str = ""
    answer: str = ""


class Thinking:
    """The streamed output of a model that reasons between these tags."""

    def __init__(self, tags: Thoughts) -> None:
        self._tags, self._text, self._shown = tags, "", Told()

    def piece(self, more: str) -> Told:
        """Add a piece; returns the new text of both that can be shown."""
        self._text += more
        return self._show(*self._safe())

    def ended(self, whole: str) -> tuple[Told, Told]:
        """Reasoning and answer of the whole text, and their parts not shown yet."""
        found = self._tags.divided(whole)
        return Told(*found), self._show(*found)

    def _safe(self) -> tuple[str, str]:
        """Reasoning and answer so far, as far as no later text can change them."""
        tags, text = self._tags, self._text
        if tags.may_start(text):  # also if the prompt began reasoning and the model begins it again
            return "", ""
        if tags.starts(text) and tags.closing not in text:
            ends = range(min(len(tags.closing) - 1, len(text)), 0, -1)
            held = next((n for n in ends if text.endswith(tags.closing[:n])), 0)
            text = text[: len(text) - held]
        return tags.divided(text)

    def _show(self, thoughts: str, answer: str) -> Told:
        before, self._shown = self._shown, Told(thoughts, answer)
        return Told(thoughts[len(before.thoughts) :], answer[len(before.answer) :])
