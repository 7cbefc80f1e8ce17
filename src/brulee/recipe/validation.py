"""Values checked against a section; errors are one sentence that names file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from brulee.errors import InputError, nearest
from brulee.recipe.sections import MethodSpec
from brulee.recipe.source import Source
from brulee.recipe.theirs.keys import said_here
from brulee.shell import word
from brulee.yaml_lines import KeyPath

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SectionT = TypeVar("SectionT", bound=BaseModel)
_CONVERTED = " `brulee init --from {}` writes a recipe of such a file."
_LONGEST = 200  # characters shown of a value, which can be of any length


def check(
    model: type[SectionT],
    values: Mapping[str, Any],
    source: Source,
    prefix: KeyPath,
    written: Mapping[str, str] | None = None,
) -> SectionT:
    """Validate values against a pydantic model; the first problem becomes one clear InputError.

    `written` maps a key of the model to its name in the file, where they differ.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [(list(_keys(model, values, p["loc"], p["type"])), p) for p in error.errors()]
        keys, problem = max(found, key=lambda each: _weight(each[1]))
        same = [p for k, p in found if k == keys]
        keys[:1] = [(written or {}).get(str(key), key) for key in keys[:1]]
        raise InputError(_sentence(model, problem, _told(same), source, (*prefix, *keys))) from None


def _sentence(
    model: type[BaseModel],
    problem: ErrorDetails,
    told: Sequence[str],
    source: Source,
    path: KeyPath,
) -> str:
    kind, loc = problem["type"], problem["loc"]
    dotted = ".".join(str(p) for p in path)
    at = source.at(path)
    if kind == "extra_forbidden":
        own = MethodSpec.model_fields if path[:-1] == ("method",) else ()
        valid = sorted({*_fields_at(model, loc[:-1]), *own})
        if theirs := _of_another_tool(model, problem, path, valid):
            return f"{at}: unknown key {dotted!r}; {theirs}{_converted(source, path)}"
        close = nearest(str(loc[-1]), valid, count=1) or _elsewhere(model, path)
        hint = f"did you mean {close[0]!r}?" if close else "none is close."
        every = f"Valid here: {', '.join(valid)}." if valid else "There are no keys here."
        return f"{at}: unknown key {dotted!r}; {hint} {every}"
    if kind == "missing":
        return f"{at}: the key {dotted!r} is required."
    given = problem["input"]
    wanted = _any_of(told) if kind != "model_type" else _mapping(model, loc, given)
    if kind == "list_type" and len(told) == 1 and isinstance(given, str):
        wanted = f"it should be a list, such as [{_shown(given)[1:-1]}]"
    return f"{at}: {dotted} = {_shown(given)} is not valid: {wanted}."


def _of_another_tool(
    model: type[BaseModel], problem: ErrorDetails, path: KeyPath, valid: Sequence[str]
) -> str | None:
    """A recipe's name for another tool's key; None for a likely typo such as `data.template`."""
    key = str(problem["loc"][-1])
    in_recipe = model.__name__ == "Recipe" or path[0] == "method"
    ours = f"{key}s" in valid or _elsewhere(model, path)
    return said_here(key, problem["input"]) if in_recipe and not ours else None


def _converted(source: Source, path: KeyPath) -> str:
    """A hint that the file can be converted, if it may be another tool's configuration."""
    ours = {("method",), ("train",)} & source.lines.keys()
    alone = len(path) == 1 and path in source.lines and path not in source.overridden
    return "" if ours or not alone else _CONVERTED.format(word(source.label))


def _weight(problem: ErrorDetails) -> tuple[bool, int, bool]:
    """A union reports one problem per member; the heaviest is the real one.

    Unknown keys weigh most, then longer paths, then values of the right type.
    """
    kind = problem["type"]
    return kind == "extra_forbidden", len(problem["loc"]), not kind.endswith("_type")


def _keys(
    model: type[BaseModel], values: Any, loc: tuple[str | int, ...], kind: str
) -> Iterator[str | int]:
    """The parts of a problem's location that are in the file; the others name union members."""
    for depth, part in enumerate(loc):
        sections = _sections_at(model, loc[:depth])
        last = depth == len(loc) - 1 and kind in ("extra_forbidden", "missing")
        if not last and any(section.__name__ == part for section in sections):
            continue
        inside = isinstance(values, dict) and part in values
        if last or isinstance(part, int) or inside or part in _fields(sections):
            yield part
            values = _inside(values, part)


def _inside(values: Any, part: str | int) -> Any:
    if isinstance(values, list):
        return values[part] if isinstance(part, int) else values
    return values.get(part) if isinstance(values, dict) else None


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _told(problems: Sequence[ErrorDetails]) -> list[str]:
    """The messages of a union's members about one value.

    Type errors are left out if the value has the type of some member. Members that are sections are
    left out too; `_mapping` describes them.
    """
    kinds = [p for p in problems if p["type"] != "model_type"]
    if any(not p["type"].endswith("_type") and p["type"] != "literal_error" for p in kinds):
        kinds = [p for p in kinds if not p["type"].endswith("_type")]
    return list(dict.fromkeys(_plain(p["msg"]) for p in kinds))


def _any_of(sentences: Sequence[str]) -> str:
    first, *others = sentences
    parts = [first, *(other.removeprefix("it should be ") for other in others)]
    return " or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _plain(message: str) -> str:
    ours = {
        "Input should": "it should",
        "String should": "it should",
        "List should": "the list should",
        " after validation": "",
    }
    for theirs, better in ours.items():
        message = message.replace(theirs, better)
    return message[0].lower() + message[1:]


def _mapping(model: type[BaseModel], loc: tuple[str | int, ...], given: Any) -> str:
    """What a section should look like; a text is probably the value of its first key."""
    fields = {k: f for s in _sections_at(model, loc) for k, f in s.model_fields.items()}
    first, field = next(iter(fields.items()))
    example = given if isinstance(given, str) else field.default
    if field.annotation is str and isinstance(example, str):
        return f"it should be a mapping, such as {{{first}: {example}}}"
    return f"it should be a mapping with keys of these: {', '.join(sorted(fields))}"


def _elsewhere(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys inside sections that have the name of an unknown top-level key."""
    if len(path) > 1:
        return []
    return [
        f"{name}.{path[0]}"
        for name, field in model.model_fields.items()
        for section in _sections_in(field.annotation)
        if path[0] in section.model_fields
    ]


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    return _fields(_sections_at(model, loc))


def _fields(sections: list[type[BaseModel]]) -> set[str]:
    return {key for section in sections for key in section.model_fields}


def _sections_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The sections possible at `loc`, in which a union's member appears by its name."""
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
    return found


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections_in(argument)
