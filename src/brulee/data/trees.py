"""Message trees: a message per row, with the id of the one that it answers, as in OASST.

Köpf et al. 2023 (arXiv:2304.07327).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from brulee.data.sources import Rows
from brulee.errors import InputError

ID, PARENT, TEXT, ROLE, RANK = "message_id", "parent_id", "text", "role", "rank"
COLUMNS = (ID, PARENT, TEXT, ROLE)
ROLES: Final = {"prompter": "user", "user": "user", "assistant": "assistant"}


def chats_of(rows: Rows) -> Rows:
    """A row with `messages` for each tree: its first message, then the best-ranked reply to each.

    Rank 0 is the best; of replies without a rank, the first. Deleted messages are left out with
    their replies, trees without an answer altogether. A row is in the place of its first message.
    Raises InputError if no tree has an answer, for a message that answers itself, and naming the
    row of a role or a rank that is none.
    """
    ids = set(rows.column(ID))
    replies: dict[str, list[dict[str, Any]]] = {}
    first: list[tuple[int, dict[str, Any]]] = []
    for i, row in enumerate(rows):
        if row[ROLE] not in ROLES:
            raise InputError(
                f"{rows.place(i)}: unknown role {row[ROLE]!r}. Valid: {', '.join(ROLES)}."
            )
        try:
            _rank(row)
        except (TypeError, ValueError):
            raise InputError(
                f"{rows.place(i)}: {RANK} must be a number, not {row[RANK]!r}."
            ) from None
        if row[PARENT] or row[PARENT] in ids:  # 0 may be an id, or say that there is no parent
            replies.setdefault(row[PARENT], []).append(row)
        else:
            first.append((i, row))
    chats = {i: _path(row, replies, rows.place(i)) for i, row in first}
    answered = {i: chat for i, chat in chats.items() if len(chat) > 1}
    if not answered:
        raise InputError(f"{rows.label}: no message without a {PARENT} is answered by another.")
    kept = rows.kept(list(answered))
    return kept.replaced({"messages": list(answered.values())}, [*COLUMNS, RANK])


def _path(
    message: Mapping[str, Any], replies: Mapping[str, list[dict[str, Any]]], place: str
) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    seen = set()
    while True:
        if message[ID] in seen:
            raise InputError(
                f"{place}: the {ID} {message[ID]!r} is also that of a message that answers it; "
                "each message needs its own."
            )
        seen.add(message[ID])
        if _is_deleted(message):
            return found
        found.append({"role": ROLES[message[ROLE]], "content": message[TEXT]})
        following = [one for one in replies.get(message[ID], ()) if not _is_deleted(one)]
        if not following:
            return found
        message = min(following, key=_rank)


def _is_deleted(message: Mapping[str, Any]) -> bool:
    """Whether a message is marked as deleted; a CSV file has the mark as text."""
    return str(message.get("deleted") or "").lower() in ("true", "1")


def _rank(message: Mapping[str, Any]) -> float:
    """The rank, or infinity for none; ValueError or TypeError for what is no number."""
    rank = message.get(RANK)
    return math.inf if rank is None or math.isnan(float(rank)) else float(rank)
