"""Lists of words that some scores need, one file each."""

from __future__ import annotations

from importlib import resources


def smart_stop_words() -> frozenset[str]:
    """The stop words that ROUGE-1.5.5 removes when asked to."""
    return frozenset(word for line in _lines("smart-stop-words.txt") for word in line.split())


def wordnet_exceptions() -> dict[str, str]:
    """Irregular form -> base form, of WordNet 2.0."""
    return dict(line.split() for line in _lines("wordnet-exceptions.txt"))


def _lines(name: str) -> list[str]:
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]
