"""Numbers, times and dates in a text, each with its equivalent values.

A value is text: "25", "3:30". An afternoon time has two ("3:30" and "15:30"), as has a fraction
("half": 0.5 and 50). Endless digits, which a model may write, are "inf".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from brulee.evaluation.number_words import NUMBER_WORDS, SCALES, values

_time = re.compile(r"(?<![\w:])(\d{1,2}):(\d{2})(?!\d)").finditer
_digits = re.compile(
    r"(?<![\w#])(?<!\d[.,:])\d+(?:,\d{2,3})*(?:\.\d+)?"
    r"(?=(?:st|nd|rd|th|k|m|bn|s|am|pm|h|min|kg|km|cm|mm|gb)?\b|[^\w])"
    r"(?:\s?(?P<scale>hundred|thousand|million|billion|dozen|k|bn)\b)?",
    re.IGNORECASE,
).finditer
_past = re.compile(
    r"\b(half|quarter|five|ten|twenty(?:-five)?|[1-5]?\d)(?: minutes)? (past|to) (\w+)",
    re.IGNORECASE,
).finditer
# "five to ten" may be a time or a range: in claims it counts as two numbers.
_spelt_out = re.compile(r"\b(half|quarter) (past|to) (\w+)", re.IGNORECASE).finditer
_hedge = re.compile(
    r"\b(?:about|around|nearly|almost|over|roughly|approximately|some|under|than|close to)\s+\W?$",
    re.IGNORECASE,
).search
_coins = re.compile(r"\s?(?:dollars?|pounds?|euros?|yuan|francs?)(?: and)? ").fullmatch
_half_hour = re.compile(r"\bhalf (?:an )?hour\b", re.IGNORECASE).finditer
_dotted_time = re.compile(r"(\d{1,2})\.(\d{2})").fullmatch
_half_of_day = re.compile(r"\s?(?:[ap]\.?m\b|o['’]clock)", re.IGNORECASE).match
# Number words that usually mean something else: "one of them", "first of all", "a second".
_VAGUE: Final = {"one", "first", "second", "zero", *SCALES}
# A dialogue between two people need not state the number two.
_COUNTED: Final = re.compile(
    r"\b(?:the|both|these|those) two\b|"
    r"\btwo (?:of|people|persons|speakers|friends|colleagues|sides)\b",
    re.IGNORECASE,
)
_SCALE: Final = {**SCALES, "k": 1e3, "bn": 1e9}
_FRACTIONS: Final = {"half": {"0.5", "50", "30"}, "quarter": {"0.25", "25", "15"}}
_SAID: Final = {
    "once": "1", "twice": "2", "a": "1", "an": "1", "couple": "2", "pair": "2", "noon": "12",
    "midday": "12", "midnight": "12", "fortnight": "14", "single": "1", "both": "2", "decade": "10",
    "century": "100", "double": "2", "triple": "3", "twenties": "20", "thirties": "30",
    "forties": "40", "fifties": "50", "sixties": "60", "seventies": "70", "eighties": "80",
    "nineties": "90",
}  # fmt: skip


Find: TypeAlias = Callable[[str], Iterator[re.Match[str]]]


@dataclass(frozen=True)
class Quantity:
    """text[start:end] and the values it may stand for; `about` if it is approximate."""

    start: int
    end: int
    values: frozenset[str]
    about: bool = False


def claims(text: str) -> list[Quantity]:
    """The quantities of a text that its source must support, in order."""
    counted = [match.span() for match in _COUNTED.finditer(text)]
    halves = [Quantity(*match.span(), frozenset({"0.5", "30"})) for match in _half_hour(text)]
    return [
        quantity
        for quantity in sorted([*_quantities(text, _spelt_out), *halves], key=lambda q: q.start)
        if text[quantity.start : quantity.end].lower() not in _VAGUE
        and text[quantity.end :] != "-"  # "forty-": the text is truncated here
        and not any(start <= quantity.start < end for start, end in counted)
    ]


def said(text: str) -> frozenset[str]:
    """Every value that a text expresses, including values that adjacent numbers form together."""
    found: set[str] = set()
    quantities = _quantities(text, _spelt_out)
    for quantity in (*quantities, *_times(text, _past)):
        found |= quantity.values
    for a, b in pairwise(quantities):
        join = _join(text[a.end : b.start])
        found |= {value for x in a.values for y in b.values for value in join(x, y)}
    for word in re.findall(r"[a-z]+", text.lower()):
        found |= _FRACTIONS.get(word, set())
        if word in _SAID:
            found.add(_SAID[word])
    return frozenset(found)


def supported(quantity: Quantity, known: frozenset[str]) -> bool:
    """Whether the known values contain one of the quantity's, or a near one if approximate."""
    if quantity.values & known:
        return True
    if not quantity.about:
        return False
    numbers = [float(value) for value in known if ":" not in value]
    return any(
        abs(number - float(value)) <= 0.1 * abs(float(value)) < math.inf
        for value in quantity.values
        if ":" not in value
        for number in numbers
    )


def _quantities(text: str, clock: Find) -> list[Quantity]:
    """All quantities in order; of overlapping ones the first found, times before numbers.

    `clock` finds times in words.
    """
    found: list[Quantity] = []
    for quantity in (*_times(text, clock), *_in_digits(text), *_in_words(text)):
        if all(quantity.end <= q.start or q.end <= quantity.start for q in found):
            about = _hedge(text[: quantity.start]) is not None
            found.append(Quantity(quantity.start, quantity.end, quantity.values, about))
    return sorted(found, key=lambda q: q.start)


def _times(text: str, clock: Find) -> Iterator[Quantity]:
    for match in _time(text):
        yield Quantity(*match.span(), _clock(int(match[1]), int(match[2])))
    for match in clock(text):
        hour, part = _number(match[3]), {"half": 30, "quarter": 15}.get(match[1].lower())
        minute = _number(match[1]) if part is None else part
        if hour is None or minute is None or not 1 <= hour <= 24 or not 0 < minute < 60:
            continue
        said = (hour, minute) if match[2].lower() == "past" else (hour - 1 or 12, 60 - minute)
        yield Quantity(*match.span(), _clock(int(said[0]), int(said[1])))


def _in_digits(text: str) -> Iterator[Quantity]:
    for match in _digits(text):
        plain = match[0][: match.start("scale") - match.start()] if match["scale"] else match[0]
        value = float(plain.strip().replace(",", "").rstrip(".") or 0)
        if match["scale"]:
            value *= _SCALE[match["scale"].lower()]
        hours = _hour(value, text, match.end()) | _with_a_dot(text, match)
        yield Quantity(*match.span(), frozenset({_plain(value)}) | hours)


def _in_words(text: str) -> Iterator[Quantity]:
    for match in NUMBER_WORDS.finditer(text):
        found = [_plain(value) for value in values(match[0])]
        together = {value for a, b in pairwise(found) for value in _together(a, b)}
        hour = _hour(values(match[0])[0], text, match.end())
        yield Quantity(*match.span(), frozenset({*found, *together}) | hour)


def _hour(value: float, text: str, end: int) -> frozenset[str]:
    """The hour that a number before "pm" or "o'clock" denotes; empty elsewhere."""
    if value not in range(1, 25) or not _half_of_day(text, end):
        return frozenset()
    return _clock(int(value), 0)


def _with_a_dot(text: str, match: re.Match[str]) -> frozenset[str]:
    """The time that "7.59" may denote, unless it is an amount of money."""
    found = _dotted_time(match[0])
    if not found or text[: match.start()].rstrip().endswith(("$", "£", "€", "¥")):
        return frozenset()
    hour, minute = int(found[1]), int(found[2])
    return _clock(hour, minute) if 1 <= hour <= 24 and minute < 60 else frozenset()


def _number(word: str) -> float | None:
    if word.isdecimal():
        return float(word)
    return values(word)[0] if NUMBER_WORDS.fullmatch(word) else None


def _clock(hour: int, minute: int) -> frozenset[str]:
    """A time on the 12-hour and 24-hour clock; a full hour is written as a plain number."""
    hours = {hour, hour - 12 if hour > 12 else hour + 12}
    return frozenset(str(h) if minute == 0 else f"{h}:{minute:02d}" for h in hours)


def _together(a: str, b: str) -> set[str]:
    """The values that two adjacent numbers may form: a time of day, a year."""
    if not (a.isdigit() and b.isdigit()):
        return set()
    first, second = int(a), int(b)
    found: set[str] = set()
    if 1 <= first <= 24 and 10 <= second < 60:
        found |= _clock(first, second)
    if 10 <= first <= 20 and 10 <= second < 100:
        found.add(str(100 * first + second))
    return found


def _thousands(a: str, b: str) -> set[str]:
    """The value of "20, 000", a number written with a space; its zeros are parsed as 0."""
    return {f"{a}{b.zfill(3)}"} if a.isdigit() and b.isdigit() else set()


def _decimal(a: str, b: str) -> set[str]:
    """The value of "6. 5", a decimal number written with a space."""
    return {_plain(float(f"{a}.{b}"))} if a.isdigit() and b.isdigit() else set()


def _money(a: str, b: str) -> set[str]:
    """The value of an amount in dollars and cents."""
    return {_plain(int(a) + int(b) / 100)} if a.isdigit() and b.isdigit() and len(b) <= 2 else set()


def _join(gap: str) -> Callable[[str, str], set[str]]:
    """The function that combines two numbers, chosen by the text between them."""
    if gap in {" ", "-", "/", ":", "."}:
        return _together
    if gap == ", ":
        return _thousands
    if gap == ". ":
        return _decimal
    return _money if _coins(gap) else lambda _a, _b: set()


def _plain(value: float) -> str:
    whole = math.isfinite(value) and value == int(value)
    return str(int(value)) if whole else f"{value:.6g}"
