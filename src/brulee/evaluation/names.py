"""Names in a text, found by capitalisation, and whether a source contains them.

A capitalised word counts as a name in the middle of a sentence, or at its beginning if it is not a
common word. No names are found in text without capitals or in a script that has none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from brulee.evaluation import word_lists
from brulee.evaluation.rouge_155_stem import porter
from brulee.evaluation.spans import Span

_words = re.compile(r"#\w+#|(?:[^\W\d_]\.){2,}|[^\W_]+(?:['’][^\W\d_]+)?").finditer
_SHORTENED: Final = re.compile(r"(?:['’](?:s|ll|re|ve|d|m)|(?<=s)['’])$", re.IGNORECASE)
_TITLES: Final = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "madam", "st"})
# A name follows these, even if it is otherwise a common word: "Officer Brown".
_ROLES: Final = frozenset({
    "officer", "professor", "doctor", "uncle", "aunt", "captain", "president", "nurse", "judge",
    "detective", "inspector", "coach", "lady", "lord", "king", "queen", "prince", "princess",
})  # fmt: skip
# Capitalised like names, but harmless if the source lacks them.
_IGNORED: Final = _TITLES | {
    "ok", "okay", "english", "tv", "internet", "email", "christmas", "god", "customer", "agent",
    "client", "user", "assistant", "speaker", "speakers", "person", "persons",
}  # fmt: skip
_ALSO_WORDS: Final = frozenset({"us", "who"})
_ENDINGS: Final = frozenset({"n", "an", "ian", "ish", "ese", "s", "es", "i", "er", "ers", "ic"})
_ENDS_SENTENCE: Final = frozenset(".!?:;\n•|")


@dataclass(frozen=True)
class Word:
    """One word of a text; `first` if it begins a sentence."""

    text: str
    start: int
    end: int
    first: bool

    @functools.cached_property
    def key(self) -> str:
        """The lookup form: lowercase, without dots or a suffix after an apostrophe."""
        return _SHORTENED.sub("", self.text).casefold().replace(".", "").strip("#")

    @property
    def capital(self) -> bool:
        """Whether it looks like part of a name."""
        return self.text[0].isupper() and self.key != "i"


class Source:
    """The words of a source, in all the forms in which a summary may repeat them."""

    def __init__(self, text: str) -> None:
        found = list(words(text))
        self.keys = {word.key for word in found} | {
            part for w in found for part in w.key.split("'")
        }
        self.stems = {porter(key) for key in self.keys if key.isascii()}
        self.tags = {word.text.casefold() for word in found if word.text.startswith("#")}
        self.initials = _initials(found)
        self.capitals = {word.key for word in found if word.text.isupper()} | self.initials

    def knows(self, word: Word) -> bool:
        """Whether the source has the word, inflected, shortened or spelled out."""
        key = word.key
        if word.text.isupper() and key in _ALSO_WORDS:  # "us" does not support "US"
            return key in self.capitals or bool(_same(key) & self.keys)
        if word.text.startswith("#"):
            return word.text.casefold() in self.tags
        if key in self.keys or key in self.initials:
            return True
        if key.isascii() and porter(key) in self.stems:
            return True
        if any(same in self.keys for same in _same(key)):
            return True
        return any(_inflected(key, other) for other in self.keys)

    def begins(self, word: Word) -> bool:
        """Whether a word of the source has this prefix: the last word of a truncated text."""
        return any(key.startswith(word.key) for key in self.keys)

    def knows_together(self, run: list[Word]) -> bool:
        """Whether the source has the initials of several words as one word ("NYC")."""
        return len(run) > 1 and "".join(word.key[:1] for word in run) in self.keys


def names(text: str, source: Source) -> list[Span]:
    """The names in a text, in order; words that the source lacks are separate spans."""
    spans = []
    for run in _runs(text):
        together = source.knows_together(run)
        known = [
            together
            or word.key in _IGNORED
            or source.knows(word)
            or (word.end == len(text) and source.begins(word))
            for word in run
        ]
        if all(known):
            if not all(word.key in _IGNORED for word in run):
                spans.append(Span(run[0].start, run[-1].end, "name", supported=True))
            continue
        spans += [
            Span(part[0].start, part[-1].end, "name", supported=False)
            for part in _unknown(run, known)
        ]
    return spans


def words(text: str) -> Iterator[Word]:
    """The words of a text with their positions."""
    before, title = 0, False
    for match in _words(text):
        gap = text[before : match.start()]
        first = before == 0 or (bool(_ENDS_SENTENCE & set(gap)) and not title) or _opens(gap)
        word = Word(match[0], match.start(), match.end(), first)
        yield word
        before, title = match.end(), word.key in _TITLES or len(word.key) == 1


def _opens(gap: str) -> bool:
    """Whether a quotation begins in the gap between two words."""
    return bool(re.search(r"[\"“„«(\[]\s*$", gap))


def _runs(text: str) -> Iterator[list[Word]]:
    """Words that look like names; adjacent ones form one list."""
    run: list[Word] = []
    found = list(words(text))
    shouting = sum(word.text.isupper() for word in found) > max(3, len(found) // 2)
    for i, word in enumerate(found):
        following = found[i + 1] if i + 1 < len(found) else None
        joined = bool(run) and text[run[-1].end : word.start] in {" ", ". ", "-", "'", "’"}
        if run and not (joined and not word.first):
            yield run
            run = []
        named = bool(run) or (_follows_role(found[i - 1], word, text) if i else False)
        if not shouting and _is_name(word, following, named):
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _follows_role(role: Word, word: Word, text: str) -> bool:
    """Whether a word directly follows a role such as "Officer"."""
    gap = text[role.end : word.start]
    return role.capital and role.key in _ROLES and gap == " " and word.capital


def _is_name(word: Word, following: Word | None, inside: bool) -> bool:
    if word.text.startswith("#"):
        return True
    if not word.capital or len(word.key) < 2:
        return False
    if word.key in _stop_words():
        return (word.key == "may" and not word.first) or (
            word.text.isupper() and word.key in _ALSO_WORDS
        )
    if inside:
        return True
    next_to_name = following is not None and following.capital and not following.first
    return not _is_common(word.key) or (next_to_name and not word.first)


def _unknown(run: list[Word], known: list[bool]) -> Iterator[list[Word]]:
    part: list[Word] = []
    for word, is_known in zip(run, known, strict=True):
        if is_known and part:
            yield part
            part = []
        elif not is_known:
            part.append(word)
    if part:
        yield part


def _initials(found: list[Word]) -> set[str]:
    """Initials of up to five consecutive capitalised words: "nyc" of "New York City"."""
    initials = set()
    for i in range(len(found)):
        letters = ""
        for word in found[i : i + 5]:
            if not word.capital and word.key not in {"of", "the", "and", "for"}:
                break
            letters += word.key[:1] if word.capital else ""
            if len(letters) > 1:
                initials.add(letters)
    return initials


def _inflected(a: str, b: str) -> bool:
    """Whether one is the other plus a demonym or plural suffix ("America", "American")."""
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return len(shorter) >= 4 and longer.startswith(shorter) and longer[len(shorter) :] in _ENDINGS


def _is_common(key: str) -> bool:
    common, stems = _common_words()
    return key in common or (key.isascii() and porter(key) in stems)


@cache
def _stop_words() -> frozenset[str]:
    listed = word_lists.bundled("stop_words")
    return frozenset(word for group in listed.values() for word in group) | {"don't", "can't"}


@cache
def _common_words() -> tuple[frozenset[str], frozenset[str]]:
    listed = word_lists.bundled("common_words")
    common = frozenset(word for group in listed.values() for word in group) | _stop_words()
    return common, frozenset(porter(word) for word in common)


@cache
def _groups() -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for name, others in word_lists.bundled("same_names").items():
        for one in (name, *others):
            groups.setdefault(one, set()).update({name, *others} - {one})
    return groups


def _same(key: str) -> set[str]:
    return _groups().get(key, set())
