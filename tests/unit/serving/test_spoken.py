"""Pieces of a text: whole characters, nothing that a stop text takes back, together the text."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from brulee.inference.completion import StopTexts
from brulee.serving.spoken import Spoken

TEXTS = [
    "The guest — très content, 東京 👩‍👩‍👧 — wrote again.",
    "  spaces at both ends, and\nlines \n\n",
    "a STO STOPP ST and then STOP and more",
    "\ufffd odd \ufffd",
    " P and",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stop", [(), ("STOP",), ("again.", "é", " \n"), ("P and",), (" ",)])
@pytest.mark.parametrize("strip", [False, True])
def test_pieces_are_together_the_text_that_is_not_streamed(
    make_tokenizer: Callable[..., Any], text: str, stop: tuple[str, ...], strip: bool
) -> None:
    tokenizer = make_tokenizer()

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = StopTexts(stop, decode)
    ends = [n for n in range(1, len(ids) + 1) if texts.reached(ids[:n])]
    ids = ids[: ends[0]] if ends else ids
    expected = texts.completion(ids).text
    for seed in range(5):
        spoken, draw, at, pieces = Spoken(decode, stop, strip), random.Random(seed), 0, []
        while at < len(ids):
            at = min(len(ids), at + draw.choice([1, 1, 1, 3]))
            pieces.append(spoken.piece(ids[:at]))
            assert "\ufffd" not in pieces[-1] or "\ufffd" in text
        whole, rest = spoken.rest(expected)
        assert whole == (expected.strip() if strip else expected)
        assert "".join(pieces) + rest == whole


def test_a_piece_comes_with_its_token_where_nothing_holds_it_back(
    make_tokenizer: Callable[..., Any],
) -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("The customer asked", add_special_tokens=False)["input_ids"]
    spoken = Spoken(tokenizer.decode, ("asked for",), False)
    pieces = [spoken.piece(ids[:n]) for n in range(1, len(ids) + 1)]
    assert all(pieces[:3])
    assert "".join(pieces) == "The customer "  # "asked" may yet go on as the stop text does
    assert spoken.rest("The customer asked") == ("The customer asked", "asked")
