"""The rows of IFEval's file: a prompt, its instructions, and what each of them asks for.

    {"key": 1, "prompt": "...", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}

In the Hub's copy, kwargs have every key, most of them null.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from brulee.errors import InputError, unknown
from brulee.evaluation.suites.ifeval.instructions import KINDS, Instruction
from brulee.evaluation.suites.rows import Row, read_hub, read_jsonl
from brulee.recipe.base import Text
from brulee.recipe.source import Source
from brulee.recipe.validation import check
from brulee.yaml_lines import KeyPath

HUB: Final = "google/IFEval"
# Where the file is in a folder, in the paper's repository, and in the Hub's.
FILES: Final = (
    "input_data.jsonl",
    "data/input_data.jsonl",
    "instruction_following_eval/data/input_data.jsonl",
    "ifeval_input_data.jsonl",
)


class Shape(BaseModel):
    """A row's keys; others are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    key: int
    prompt: Text
    kinds: Annotated[list[str], Field(alias="instruction_id_list", min_length=1)]
    arguments: Annotated[list[dict[str, Any]], Field(alias="kwargs")]


@dataclass(frozen=True)
class Item:
    """A prompt and the instructions in it."""

    key: int
    prompt: str
    instructions: tuple[Instruction, ...]


def read_items(data: Path | None, limit: int | None = None) -> list[Item]:
    """The first items of the published file, or of the Hub's copy if `data` is None.

    `data` is the file or a folder that has it. Raises InputError for a missing file, and for a row
    with an unknown instruction, a missing, unknown or unusable key of its kwargs, a key that an
    earlier row has, or an instruction that needs a package which is not installed.
    """
    rows = read_hub(HUB, "train") if data is None else read_jsonl(_file(data))
    found: dict[int, Item] = {}
    for row in rows[:limit]:
        item = _item(row)
        if item.key in found:
            raise InputError(f"{row.place}: an earlier row has the key {item.key} too.")
        found[item.key] = item
    return list(found.values())


def instruction(
    kind: str, given: Mapping[str, Any], source: Source, path: KeyPath = ()
) -> Instruction:
    """An instruction with the kwargs of a row, which are at `path` of `source`; null is none.

    Raises InputError as `read_items`.
    """
    if kind not in KINDS:
        raise unknown("instruction", kind, KINDS, source.label)
    _check_installed(kind, source.label)
    said = {key: value for key, value in given.items() if value is not None}
    return Instruction(kind, check(_kwargs_of(kind), said, source, path).model_dump())


def _file(data: Path) -> Path:
    if data.is_file():
        return data
    for name in FILES:
        if (data / name).is_file():
            return data / name
    raise InputError(
        f"{data}: no {FILES[0]} there, nor in its folder data; it should be the published file of "
        "IFEval or its folder."
    )


def _item(row: Row) -> Item:
    source = Source(row.place, {}, None)
    shape = check(Shape, row.values, source, ())
    if len(shape.kinds) != len(shape.arguments):
        raise InputError(
            f"{row.place}: {len(shape.kinds)} ids in instruction_id_list and "
            f"{len(shape.arguments)} kwargs; each instruction has its own."
        )
    pairs = enumerate(zip(shape.kinds, shape.arguments, strict=True))
    found = [instruction(kind, given, source, ("kwargs", i)) for i, (kind, given) in pairs]
    return Item(shape.key, shape.prompt, tuple(found))


def _check_installed(kind: str, place: str) -> None:
    need = KINDS[kind].need
    if need is None:
        return
    try:
        need()
    except InputError as error:
        raise InputError(f"{place}, {kind}: {error}") from None


@cache
def _kwargs_of(kind: str) -> type[BaseModel]:
    """The keys of a kind's kwargs with their types: the keyword arguments of its function."""
    follows = KINDS[kind].follows
    hints = get_type_hints(follows, include_extras=True)
    _, *keys = inspect.signature(follows).parameters  # the first is the response
    fields: dict[str, Any] = {key: (hints[key], ...) for key in keys}
    strict = ConfigDict(extra="forbid", strict=True, frozen=True)
    return create_model(f"{kind} kwargs", __config__=strict, **fields)
