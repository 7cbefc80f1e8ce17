"""Message trees with odd ids and ranks are read or refused."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.rows import Rows
from brulee.data.trees import chats_of
from brulee.errors import InputError


def message(at: Any, parent: Any, role: str, rank: Any = None) -> dict[str, Any]:
    return {"message_id": at, "parent_id": parent, "role": role, "text": f"{at}", "rank": rank}


def said(rows: list[dict[str, Any]]) -> list[list[str]]:
    chats = chats_of(Rows.of(rows)).column("messages")
    return [[turn["content"] for turn in chat] for chat in chats]


def test_a_message_with_its_parents_id_is_refused() -> None:
    rows = [message("a", None, "user"), message("a", "a", "assistant")]
    with pytest.raises(InputError, match="row 1: the message_id 'a' is also that of a message"):
        chats_of(Rows.of(rows))


def test_zero_is_an_id_if_a_message_has_it() -> None:
    pairs = [message(0, None, "user"), message(1, 0, "assistant")]
    assert said(pairs) == [["0", "1"]]
    assert said([message(1, 0, "user"), message(2, 1, "assistant")]) == [["1", "2"]]


def test_marks_of_deleted_messages_may_be_texts() -> None:
    rows = [message("a", None, "user"), message("b", "a", "assistant", 1)]
    rows += [message("c", "a", "assistant", 0)]
    marks = ("False", "False", "True")
    marked = [row | {"deleted": mark} for row, mark in zip(rows, marks, strict=True)]
    assert said(marked) == [["a", "b"]]


def test_ranks_are_numbers_or_missing() -> None:
    rows = [message("a", None, "user", float("nan"))]
    rows += [message("b", "a", "assistant", float("nan")), message("c", "a", "assistant", 1.0)]
    assert said(rows) == [["a", "c"]]
    rows = [message("a", None, "user", "best")]
    with pytest.raises(InputError, match="row 1: rank must be a number, not 'best'"):
        chats_of(Rows.of(rows))
