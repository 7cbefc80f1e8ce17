"""YAML 1.2 scalars with the line of every key, so that an error can point into the file.

PyYAML follows YAML 1.1, where `1e-4` is a string, `on` is true and a repeated key silently wins.
All three have cost people a training run.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from brulee.errors import InputError

KeyPath = tuple[str | int, ...]
# A few lines of nested aliases can expand to billions of values.
_MOST_VALUES = 300_000
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
# Characters that YAML refuses, and what it takes for ends of lines.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NEXT_LINE = "\x85"  # PyYAML writes it between single quotes, and reads a space there

_INTEGER = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN))$"
)
_NUMBERS = (
    ("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789")),
    ("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789")),
)


# SafeLoader whose plain scalars follow the YAML 1.2 core schema; on libyaml where PyYAML was built
# with it, which is ten times as fast.
_Loader: type[yaml.SafeLoader] = type(
    "_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {}
)
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] in {"null", "merge"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
for _number in _NUMBERS:
    _Loader.add_implicit_resolver(*_number)
# The same with YAML 1.1's further words for true and false, for files written for PyYAML.
_OldLoader: type[yaml.SafeLoader] = type("_OldLoader", (_Loader,), {})
_OldLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$"),
    list("yYnNoO"),
)
# SafeDumper that also quotes the texts which are numbers in YAML 1.2 alone: 2e-4, 08.
_Dumper: type[yaml.SafeDumper] = type("_Dumper", (yaml.SafeDumper,), {})
for _number in _NUMBERS:
    _Dumper.add_implicit_resolver(*_number)
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        _TEXT, text, style='"' if _NEXT_LINE in text else None
    ),
)


def parse(text: str, where: str, old: bool = False) -> tuple[Any, dict[KeyPath, int]]:
    """Parse one YAML document into plain values and a map from key path to 1-based line.

    A merge key (`<<: *name`) supplies keys that the mapping itself does not set. With `old`, yes,
    no, on and off are true and false, as in YAML 1.1. Raises InputError, naming `where` and the
    line, on malformed YAML and on a repeated key.
    """
    try:
        return _parse(text, where, _OldLoader if old else _Loader)
    except RecursionError:
        raise InputError(f"{where}: not valid YAML: it is nested too deeply.") from None


def parse_scalar(text: str) -> Any:
    """The value of one `--set key=value`, read as YAML (so lists and mappings work too)."""
    value, _ = parse(text, f"--set value {text!r}")
    return value


def dump(values: Any) -> str:
    """Plain values as YAML, which `parse` and PyYAML read back to the same."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def quoted(text: str) -> str:
    """A text as a one-line YAML scalar, unquoted if it reads back unchanged."""
    bare = re.fullmatch(r"[A-Za-z0-9_./][\w./-]*", text, re.ASCII) is not None
    if bare and _reads_back(text):
        return text
    written = json.dumps(text, ensure_ascii=False)
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def comment(text: str) -> str:
    """A text as a comment, on one line."""
    return f"# {_ODD.sub(' ', text)}"


def _reads_back(text: str) -> bool:
    """Whether this is its own text in YAML 1.1 and as it is read here, where 2e-4 is a number."""
    try:
        return all(
            bool(yaml.load(text, Loader=kind) == text) for kind in (yaml.SafeLoader, _Loader)
        )
    except (yaml.YAMLError, ValueError):  # "..." ends a document, 2026-02-30 is no date
        return False


def _parse(text: str, where: str, kind: type[yaml.SafeLoader]) -> tuple[Any, dict[KeyPath, int]]:
    try:
        loader = kind(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: not valid YAML: {error.problem}.") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}.") from None
    if node is None:
        return None, {}
    lines: dict[KeyPath, int] = {}
    value = _build(loader, node, (), lines, where)
    return value, lines


def _build(
    loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], where: str
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > _MOST_VALUES:
        raise InputError(
            f"{where}: more than {_MOST_VALUES:,} values; do aliases (*name) multiply them?"
        )
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines, where)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), lines, where) for i, item in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except yaml.YAMLError:
        line = node.start_mark.line + 1
        raise InputError(
            f"{where}, line {line}: the tag {node.tag!r} is not allowed here."
        ) from None
    except (AttributeError, LookupError, ValueError):  # from PyYAML's reading of a tagged text
        line = node.start_mark.line + 1
        raise InputError(
            f"{where}, line {line}: {node.value!r} is not what the tag {node.tag!r} says."
        ) from None


def _mapping(
    loader: yaml.SafeLoader,
    node: yaml.MappingNode,
    path: KeyPath,
    lines: dict[KeyPath, int],
    where: str,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (key_node, value_node) in _pairs(node, where, {}).items():
        lines[(*path, key)] = key_node.start_mark.line + 1
        found[key] = _build(loader, value_node, (*path, key), lines, where)
    return found


def _pairs(
    node: yaml.MappingNode, where: str, known: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]]
) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The keys of a mapping, and those it lacks from the mappings that it merges.

    `known` caches mappings already read: nested merges would be read exponentially often.
    """
    if id(node) in known:
        return known[id(node)]
    pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    merged: list[yaml.Node] = []
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key_node.tag == _MERGE:
            several = isinstance(value_node, yaml.SequenceNode)
            merged += value_node.value if several else [value_node]
            continue
        if key in pairs:
            raise InputError(f"{where}, line {line}: the key {key!r} is given twice.")
        pairs[key] = (key_node, value_node)
    for other in merged:
        if not isinstance(other, yaml.MappingNode):
            line = other.start_mark.line + 1
            raise InputError(f"{where}, line {line}: << takes a mapping, or a list of them.")
        pairs = _pairs(other, where, known) | pairs
    known[id(node)] = pairs
    return pairs
