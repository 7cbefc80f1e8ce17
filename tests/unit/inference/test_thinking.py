"""Thoughts told from the answer while both are written: no piece is lost, and none told twice."""

from __future__ import annotations

import random

import pytest

from brulee.data.thoughts import Thoughts
from brulee.inference.thinking import Thinking

TAGS = (
    Thoughts("<think>", "</think>"),
    Thoughts("<think>", "</think>", begun=True),
    Thoughts("[analysis]", "[end][final]", plain="[final]"),
)


@pytest.mark.parametrize("tags", TAGS)
def test_what_is_told_in_pieces_is_what_the_whole_says(tags: Thoughts) -> None:
    rng = random.Random(0)
    opening, closing, _, plain = tags
    parts = [opening, closing, plain, opening[:3], closing[:4], closing[2:], "a", " b", " ", "\n"]
    for _ in range(2000):
        text = "".join(rng.choices(parts, k=rng.randint(0, 7)))
        thinking, told, at = Thinking(tags), ["", ""], 0
        while at < len(text):
            size = rng.randint(1, 4)
            piece = thinking.piece(text[at : at + size])
            told = [told[0] + piece.thoughts, told[1] + piece.answer]
            at += size
        whole, rest = thinking.ended(text)
        assert [told[0] + rest.thoughts, told[1] + rest.answer] == [whole.thoughts, whole.answer]
        assert (whole.thoughts, whole.answer) == tags.divided(text)
