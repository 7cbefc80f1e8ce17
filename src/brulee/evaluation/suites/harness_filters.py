"""The filters of lm-evaluation-harness 0.4.13, which extract the answer from a reply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import regex

from brulee.errors import InputError, unknown
from brulee.evaluation.suites.harness_config import FilterConfig, FilterStep

Filter = Callable[[list[str]], list[str]]

INVALID: Final = "[invalid]"
_NUMBER: Final = r"#### (\-?[0-9\.\,]+)"
_MAX_SECONDS: Final = 2.0


def build(config: FilterConfig, where: str) -> Filter:
    """All steps of a filter. Raises InputError for an unknown step or option."""
    steps = [_step(step, f"{where}, filter {config.name}") for step in config.filter]

    def apply(replies: list[str]) -> list[str]:
        for step in steps:
            replies = step(replies)
        return replies

    return apply


def _step(config: FilterStep, where: str) -> Filter:
    if config.function not in _STEPS:
        raise unknown("filter", config.function, _STEPS, where)
    make, options = _STEPS[config.function]
    given = config.model_extra or {}
    for name in given:
        if name not in options:
            raise unknown(f"option of {config.function}", name, options or ("(none)",), where)
    return make(given, where)


def _regex(options: Mapping[str, Any], where: str) -> Filter:
    """One match of a pattern, stripped; with several groups, the first non-empty one."""
    pattern = _compiled(options.get("regex_pattern", _NUMBER), where)
    chosen = options.get("group_select", 0)
    if not isinstance(chosen, int):
        raise InputError(f"{where}: group_select is the number of a match, not {chosen!r}.")
    fallback = str(options.get("fallback", INVALID))

    def found(reply: str) -> str:
        try:
            matches = pattern.findall(reply, timeout=_MAX_SECONDS)
        except TimeoutError:
            raise InputError(f"{where}: {pattern.pattern!r} takes too long on a reply.") from None
        if not matches:
            return fallback
        if not -len(matches) <= chosen < len(matches):
            return fallback
        match = matches[chosen]
        if isinstance(match, tuple):
            match = next(filter(None, match), fallback)
        return str(match).strip()

    return lambda replies: [found(reply) for reply in replies]


def _compiled(pattern: Any, where: str) -> Any:
    try:
        return regex.compile(str(pattern))
    except regex.error as error:
        raise InputError(f"{where}: {pattern!r} is not a regular expression: {error}.") from None


def _first(options: Mapping[str, Any], where: str) -> Filter:
    del options, where
    return lambda replies: replies[:1]


def _first_k(options: Mapping[str, Any], where: str) -> Filter:
    if not isinstance(count := options.get("k"), int) or count < 1:
        raise InputError(f"{where}: take_first_k needs a number k, 1 or more.")
    return lambda replies: replies[:count]


def _vote(options: Mapping[str, Any], where: str) -> Filter:
    del options, where
    return lambda replies: [Counter(replies).most_common(1)[0][0]]


def _each(change: Callable[[str], str]) -> Callable[[Mapping[str, Any], str], Filter]:
    def make(options: Mapping[str, Any], where: str) -> Filter:
        del options, where
        return lambda replies: [change(reply) for reply in replies]

    return make


def _map(options: Mapping[str, Any], where: str) -> Filter:
    table, default = options.get("mapping_dict"), options.get("default_value")
    if not isinstance(table, dict):
        raise InputError(f"{where}: map needs a mapping_dict.")
    default = INVALID if default is None else default  # "None" might be an answer
    return lambda replies: [str(table.get(reply, default)) for reply in replies]


_STEPS: Final[dict[str, tuple[Callable[[Mapping[str, Any], str], Filter], Sequence[str]]]] = {
    "regex": (_regex, ("regex_pattern", "group_select", "fallback")),
    "take_first": (_first, ()),
    "take_first_k": (_first_k, ("k",)),
    "majority_vote": (_vote, ()),
    "remove_whitespace": (_each(str.strip), ()),
    "lowercase": (_each(str.lower), ()),
    "uppercase": (_each(str.upper), ()),
    "map": (_map, ("mapping_dict", "default_value")),
}
