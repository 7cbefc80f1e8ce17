"""Values checked against a section, with one sentence that names file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from brulee.errors import InputError, nearest
from brulee.recipe.source import Source
from brulee.yaml_lines import KeyPath

SectionT = TypeVar("SectionT", bound=BaseModel)


def check(
    model: type[SectionT], values: Mapping[str, Any], source: Source, prefix: KeyPath
) -> SectionT:
    """Validate values against a pydantic model; the first problem becomes one clear InputError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(_sentence(model, error, source, prefix)) from None


def _sentence(
    model: type[BaseModel], error: ValidationError, source: Source, prefix: KeyPath
) -> str:
    problems = error.errors()
    # A union reports one problem a member; an unknown key in the longest path is the real one.
    problem = max(problems, key=lambda p: (p["type"] == "extra_forbidden", len(p["loc"])))
    loc = tuple(part for part in problem["loc"] if not _is_union_tag(part))
    path: KeyPath = (*prefix, *loc)
    dotted = ".".join(str(p) for p in path)
    at = source.at(path)
    if problem["type"] == "extra_forbidden":
        valid = sorted(_fields_at(model, problem["loc"][:-1]))
        close = nearest(str(loc[-1]), valid)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{at}: unknown key {dotted!r}; {hint}Valid here: {', '.join(valid)}."
    if problem["type"] == "missing":
        return f"{at}: the key {dotted!r} is required."
    given = problem["input"]
    return f"{at}: {dotted} = {given!r} is not valid: {_any_of(_members(problem, problems))}."


def _members(problem: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each member of a union says of the same value; alone what one problem says."""
    *path, last = problem["loc"] or ("",)
    if not _is_union_tag(last):
        return [_plain(problem["msg"])]
    beside = [p for p in problems if list(p["loc"][:-1]) == path and _is_union_tag(p["loc"][-1])]
    # A section as a member is said in pydantic's terms; it stands only where nothing else does.
    told = [p for p in beside if p["type"] != "model_type"] or beside
    return list(dict.fromkeys(_plain(p["msg"]) for p in told))


def _any_of(sentences: Sequence[str]) -> str:
    first, *others = sentences
    parts = [first, *(other.removeprefix("it should be ") for other in others)]
    return " or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _plain(message: str) -> str:
    for subject, ours in {"Input should": "it should", "List should": "the list should"}.items():
        message = message.replace(subject, ours)
    return message[0].lower() + message[1:]


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and (
        part in {"str", "int", "float", "bool", "constrained-float", "constrained-int"}
        or part[:1].isupper()
        or "[" in part
    )


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """The keys of the section at `loc`, in which a union's member stands by its name."""
    found = [model]
    for part in loc:
        by_name = [section for section in found if section.__name__ == part]
        fields = [
            section.model_fields[str(part)] for section in found if part in section.model_fields
        ]
        if by_name:
            found = by_name
        elif fields:
            found = [section for field in fields for section in _sections_in(field.annotation)]
    return set().union(*(section.model_fields for section in found))


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections_in(argument)
