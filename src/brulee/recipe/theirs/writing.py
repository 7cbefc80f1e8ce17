"""A recipe's text for another tool's configuration, with remarks on differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.recipe.reading import recipe_from_dict
from brulee.recipe.source import Source
from brulee.recipe.theirs.conversion import convert
from brulee.recipe.theirs.converted import Converted, Left
from brulee.recipe.theirs.entries import PLAIN
from brulee.shell import word
from brulee.yaml_lines import comment, parse, quoted

_LONGEST = 60  # characters shown of a value without a counterpart


@dataclass(frozen=True)
class Written:
    """A recipe's text, the tool it was converted from, and the keys that are not in it."""

    text: str
    tool: str
    left: tuple[Left, ...]


def written(file: Path) -> Written:
    """The recipe for a configuration of LLaMA-Factory, axolotl, TRL or Unsloth.

    Nothing is dropped: keys without a counterpart are listed in comments, those that change
    training separately. Raises InputError naming the line for malformed YAML, an invalid value,
    and unsupported kinds of training.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start}).") from None
    # These tools read YAML with PyYAML.
    theirs, lines = parse(text, str(file), old=True)
    if not isinstance(theirs, dict):
        raise InputError(f"{file}: it has no keys; another tool's configuration has.")
    found = convert(theirs, lines, file)
    recipe = "\n".join([*_lines(found, file), ""])
    # An invalid value was invalid in the file, so the error names its line there.
    recipe_from_dict(parse(recipe, str(file))[0], source=Source(str(file), found.lines, None))
    return Written(recipe, found.tool.name, tuple(found.left))


def _lines(found: Converted, file: Path) -> Iterator[str]:
    yield comment(f"Written by `brulee init --from {word(file)}`, a file of {found.tool.name}'s.")
    yield "# A comment says how a value differs, or that the other file leaves it out."
    yield from _left(
        "Settings that a recipe cannot express and that change the training:", found, True
    )
    yield from _left("Settings that a recipe does not need:", found, False)
    yield ""
    yield from _keys(found, "", "name", "runs")
    yield from _model(found)
    yield ""
    yield from _data(found)
    for section in ("method", "train"):
        inside = [to.split(".", 1)[1] for to in found.values if to.startswith(f"{section}.")]
        inside.sort(key=lambda name: name != "name")
        yield ""
        yield f"{section}:"
        yield from _keys(found, section, *inside)
    yield ""
    yield "evaluate:  # not theirs: what is measured before and after"
    if not any(task.data.get("templates") == PLAIN for task in found.tasks):
        yield "  metrics: [rouge, bleu]"
    yield "  guards: [common-knowledge, plain-prose]  # what must not get worse"
    yield "  guard_limit: 40  # items of each; null asks all, which finds smaller losses"


def _left(heading: str, found: Converted, matters: bool) -> Iterator[str]:
    some = [one for one in found.left if one.matters == matters]
    if some:
        yield "#"
        yield f"# {heading}"
        told = (f"  {quoted(one.key)}: {shown(one.value)}: {one.why}" for one in some)
        yield from map(comment, told)


def _keys(found: Converted, section: str, *keys: str) -> Iterator[str]:
    for key in keys:
        to = f"{section}.{key}" if section else key
        if to in found.values:
            remark = f"  # {found.remarks[to]}" if to in found.remarks else ""
            indent = "  " if section else ""
            yield f"{indent}{key}: {_flow(found.values[to])}{remark}"


def _model(found: Converted) -> Iterator[str]:
    inside = [to.removeprefix("model.") for to in found.values if to.startswith("model.")]
    inside.sort(key=lambda name: name != "name")
    if inside == ["name"]:
        yield f"model: {_flow(found.values['model.name'])}"
    else:
        yield "model:"
        yield from _keys(found, "model", *inside)


def _data(found: Converted) -> Iterator[str]:
    if len(found.tasks) == 1:
        yield "data:"
        yield from _task(found.tasks[0].data, found.tasks[0].remarks, "  ")
        return
    yield "data:" if found.mix else "data:  # each is drawn as often as it has rows"
    indent = "  "
    if found.mix:
        yield f"  mix: {{kind: {found.mix['kind']}}}"
        yield "  tasks:"
        indent = "    "
    for entry in found.tasks:
        first, *others = _task(entry.data, entry.remarks, f"{indent}  ")
        yield f"{indent}- {first.strip()}"
        yield from others


def _task(data: Mapping[str, Any], remarks: list[str], indent: str) -> Iterator[str]:
    for key, value in data.items():
        if key != "split":
            yield f"{indent}{key}: {_flow(value)}"
            if key == "source":
                yield from (f"{indent}{comment(remark)}" for remark in remarks)
    given = data["source"] if isinstance(data["source"], dict) else {}
    if "test" not in given:
        yield f"{indent}split:"
        yield f"{indent}  test: 0.15  # not theirs: scored before and after, and not learned"
    elif data["split"]:
        yield f"{indent}split:"
    for key, value in data["split"].items():
        yield f"{indent}  {key}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{quoted(k)}: {_flow(v)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    """A value on one line, truncated if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
