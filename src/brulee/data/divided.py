"""A source that names another for each split: `train=chats.jsonl,test=old/reviewed.csv`."""

from __future__ import annotations

import re

from brulee.data.split_names import SPLIT_NAMES

_KEYS = "|".join(SPLIT_NAMES)
_DIVIDED = re.compile(rf"({_KEYS})=", re.IGNORECASE)
_BETWEEN = re.compile(rf",(?=(?:{_KEYS})=)", re.IGNORECASE)


def is_divided(name: str) -> bool:
    """Whether a name is one of a source for each split."""
    return _DIVIDED.match(name) is not None


def members(name: str) -> list[tuple[str, str]]:
    """The splits and their sources, in their order; a split may have several."""
    found = (part.partition("=") for part in _BETWEEN.split(name))
    return [(SPLIT_NAMES[split.lower()], source.strip()) for split, _, source in found]
