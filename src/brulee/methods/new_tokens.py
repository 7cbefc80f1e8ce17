"""The tokens that an adapter adds to its base's vocabulary: read from its files, and compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.models.added_tokens import NewToken
from brulee.models.loading import Base


def tokens_of(record: Any, path: Path) -> tuple[NewToken, ...]:
    """Added tokens, from a list in brulee.json or in a tokenizer.json.

    Raises InputError naming the file if it has another form.
    """
    wanted = InputError(f"{path}: 'added_tokens' must list the text, id and kind of each token.")
    if not isinstance(record, list):
        raise wanted
    found = []
    for one in record:
        values = one if isinstance(one, dict) else {}
        text, at = values.get("text", values.get("content")), values.get("id")
        special = values.get("special", False)
        if not (isinstance(text, str) and type(at) is int and isinstance(special, bool)):
            raise wanted
        found.append(NewToken(text, special, at))
    return tuple(found)


def check_vocabulary(tokens: Sequence[NewToken], base: Base, folder: Path) -> None:
    """Refuse an adapter, in `folder`, whose `tokens` are not those that the loaded base has."""
    added = {token.text: token.id for token in base.added}
    vocabulary = base.tokenizer.get_vocab() if tokens else {}
    own = {t.text: t.id for t in tokens if t.text in added or t.text not in vocabulary}
    if own != added:
        raise InputError(
            f"{folder}: it was trained with {said_of(own)}, but this base was loaded with "
            f"{said_of(added)}; load it by itself, or merge it: brulee adapters merge."
        )


def shared_tokens(found: Mapping[str, Sequence[NewToken]]) -> tuple[NewToken, ...]:
    """The tokens that all adapters added, given by their names.

    Raises InputError if they disagree.
    """
    first, *others = found
    tokens = tuple(found[first])
    for name in others:
        if {(t.text, t.id) for t in found[name]} != {(t.text, t.id) for t in tokens}:
            raise InputError(
                f"these adapters do not share a vocabulary: {first!r} was trained with "
                f"{said_of([t.text for t in tokens])}, {name!r} with "
                f"{said_of([t.text for t in found[name]])}; load them apart, or merge each into a "
                "model of its own: brulee adapters merge."
            )
    return tokens


def said_of(tokens: Collection[str]) -> str:
    """For instance "'<note>' added"."""
    return f"{', '.join(map(repr, sorted(tokens)))} added" if tokens else "no token added"
