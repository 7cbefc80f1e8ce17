"""Message trees: a message per row, with the id of the one that it answers, as in OASST.

Köpf et al. 2023 (arXiv:2304.07327).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brulee.data.sources import Rows
from brulee.errors import InputError

ID, PARENT, TEXT, ROLE, RANK = "message_id", "parent_id", "text", "role", "rank"
COLUMNS = (ID, PARENT, TEXT, ROLE)
_ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}


def chats_of(rows: Rows) -> Rows:
    """A row with `messages` for each tree: its first message, then the best-ranked reply to each.

    Rank 0 is the best; of replies without a rank, the first. Deleted messages are left out with
    their replies, trees without an answer altogether. A row is in the place of its first message.
    Raises InputError if no tree has an answer, and naming the row of a role that is none.
    """
    replies: dict[str, list[dict[str, Any]]] = {}
    first: list[tuple[int, dict[str, Any]]] = []
    for i, row in enumerate(rows):
        if row[ROLE] not in _ROLES:
            raise InputError(
                f"{rows.place(i)}: unknown role {row[ROLE]!r}. Valid: {', '.join(_ROLES)}."
            )
        if row[PARENT]:
            replies.setdefault(row[PARENT], []).append(row)
        else:
            first.append((i, row))
    chats = {i: _path(row, replies) for i, row in first}
    answered = {i: chat for i, chat in chats.items() if len(chat) > 1}
    if not answered:
        raise InputError(f"{rows.label}: no message without a {PARENT} is answered by another.")
    kept = rows.kept(list(answered))
    return kept.replaced({"messages": list(answered.values())}, [*COLUMNS, RANK])


def _path(
    message: Mapping[str, Any], replies: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    while True:
        if message.get("deleted"):
            return found
        found.append({"role": _ROLES[message[ROLE]], "content": message[TEXT]})
        following = [one for one in replies.get(message[ID], ()) if not one.get("deleted")]
        if not following:
            return found
        message = min(following, key=_rank)


def _rank(message: Mapping[str, Any]) -> float:
    rank = message.get(RANK)
    return float("inf") if rank is None else float(rank)
