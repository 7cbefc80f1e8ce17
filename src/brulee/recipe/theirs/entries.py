"""Conversion of the data sets of another tool's configuration to tasks of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.recipe.theirs.values import Unlike, listed, read

Place = Callable[[str], str]  # a path as the recipe should name it

_CHATS = ("messages", "conversations", "conversation")
_TURNS = ({"role": "role", "content": "content"}, {"role": "from", "content": "value"})
_TYPES = {
    "pretrain": "plain text that is read as a stream",
    "input_output": "texts cut into segments by hand",
    "stepwise_supervised": "reward models of single steps",
}
PLAIN = "plain-text"
_PLAIN = {"templates": PLAIN}
_DIVIDED = "of a text longer than train.max_length every piece is a document, and none overlap"
UNKNOWN = "not known here"
# LLaMA-Factory 0.9.5 reads such a file with the text loader of `datasets`, one row per line.
_BY_LINES = "a .txt file there is one document per line; here it is read in sections of many lines"
# Keys of an entry that change which rows are learned, or how.
TELLING = frozenset(
    (
        *("split", "chat_template", "chat_template_jinja", "conversation", "revision", "fraction"),
        *("shards", "shards_idx", "skip", "roles", "roles_to_train", "field_system", "field_tools"),
        *("drop_system_message", "message_field_training_detail", "data_dir"),
    )
)
_CONTAINERS = ("json", "csv", "parquet", "text", "arrow")
_READ = (
    *("path", "name", "split", "type", "data_files", "field_messages"),
    *("message_property_mappings", "message_field_role", "message_field_content"),
)
_WHY = {
    "ds_type": "a file's name says what it is",
    "columns": "the columns that are read are kept",
    "train_on_eos": "the end of every learned answer is learned",
    "trust_remote_code": "no code of a data set is run",
    "message_field_training": "an answer with train: false or training: false is not learned",
    "message_field_training_detail": "an answer is learned as a whole or not at all",
    "revision": "the newest revision of a data set is read",
    **dict.fromkeys(
        ("shards", "shards_idx", "skip", "fraction"),
        "the first rows can be taken (data.limit), or a number of them (row_cap)",
    ),
    "data_dir": "name a folder or a file as the source",
    "roles": "roles are read by the names that are known: brulee data inspect shows them",
    "roles_to_train": "answers are what is learned",
    "field_system": "a chat's system message is its first turn, or data.system",
    "field_tools": "tools are read from the column tools",
    "drop_system_message": "a chat's system message is kept",
    **dict.fromkeys(
        ("split_thinking", "template_thinking_key", "field_thinking"),
        "thoughts are read from reasoning_content, or from <think> in an answer",
    ),
    **dict.fromkeys(("preprocess_shards", "streaming"), "how data are loaded cannot be set"),
}
_ALPACA = (
    "type: alpaca there puts sentences around instruction and input, and no chat template; here",
    "these are the prompt, in the model's chat template (data.templates, model.chat_template)",
)


@dataclass
class Entry:
    """A task's values, remarks, and the entry's keys without a counterpart, with the reasons."""

    data: dict[str, Any]
    remarks: list[str] = field(default_factory=list)
    left: dict[str, tuple[Any, str]] = field(default_factory=dict)
    # Whether its text is a complete format, without a chat template around it.
    plain: bool = False


def entries(
    values: Mapping[str, Any], tool: str, place: Place, at: Mapping[str, str]
) -> list[Entry]:
    """The tasks, whichever key names them. Raises InputError for none, and for unsupported ones."""
    found = list(_entries(values, tool, place, at))
    if not found:
        raise InputError(
            f"{at['']}: no data set is named (datasets, dataset, dataset_name, local_dataset)."
        )
    if values.get("stage") == "pt" or values.get("format_type") == "raw":
        for entry in found:
            # An entry's prompt column, whatever its name there, is called instruction here.
            named = {"columns": {"text": "instruction"}} if tool == "LLaMA-Factory" else {}
            entry.data |= {**_PLAIN, **named}
            entry.remarks.append(_DIVIDED)
            entry.remarks += [_BY_LINES] if tool == "LLaMA-Factory" else []
    if limit := values.get("max_samples"):
        for entry in found:
            entry.data["limit"] = limit
    return found


def _entries(
    values: Mapping[str, Any], tool: str, place: Place, at: Mapping[str, str]
) -> Iterator[Entry]:
    if isinstance(listing := values.get("datasets"), list):
        for number, entry in enumerate(listing):
            where = f"{at['datasets']}: datasets.{number}"
            try:
                yield from _listed(entry, place, where)
            except Unlike as unlike:
                raise InputError(f"{where}: {unlike}.") from None
    elif values.get("datasets") is not None:
        raise InputError(f"{at['datasets']}: datasets has to be a list of entries with a path.")
    if name := values.get("dataset_name"):
        config = values.get("dataset_config") or values.get("dataset_config_name")
        source = place(str(name))
        yield _named(f"{source}:{config}" if config else source, values)
    files = read(listed, values, "local_dataset", at) if values.get("local_dataset") else []
    for path in files:
        yield Entry({"source": place(path)})
    folder = str(values.get("dataset_dir") or "data")
    names = read(listed, values, "dataset", at) if values.get("dataset") else []
    for name in names:
        # LLaMA-Factory's are entries of a file, except for ONLINE; others' are on the Hub.
        if tool == "LLaMA-Factory" and folder != "ONLINE":
            yield Entry({"source": f"{place(str(Path(folder) / 'dataset_info.json'))}:{name}"})
        else:
            yield Entry({"source": place(name)})


def _named(source: str, values: Mapping[str, Any]) -> Entry:
    """TRL's one data set, of which a split is chosen apart."""
    left: dict[str, tuple[Any, str]] = {}
    data = _of_split({"split": values.get("dataset_train_split")}, left)
    return Entry({"source": source, **data}, left=left)


def _listed(entry: Any, place: Place, where: str) -> Iterator[Entry]:
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise InputError(f"{where}: an entry is a mapping with a path.")
    remarks: list[str] = []
    left: dict[str, tuple[Any, str]] = {}
    data: dict[str, Any] = {}
    completes = entry.get("type") == "completion"
    for key, value in entry.items():
        if key not in (*_READ, *(["field"] if completes else [])) and value is not None:
            left[key] = (value, _why(key, value))
    _check_turns(entry, where)
    data |= _of_type(entry, remarks, where)
    if (messages := entry.get("field_messages")) and messages not in _CHATS:
        data["columns"] = {"messages": messages}
    data |= _of_split(entry, left)
    for source in _sources(entry, place, where):
        plain = isinstance(entry.get("type"), dict)
        yield Entry({"source": source, **data}, list(remarks), dict(left), plain)


def _sources(entry: Mapping[str, Any], place: Place, where: str) -> list[str]:
    path, files, name = entry["path"], entry.get("data_files"), entry.get("name")
    if path in _CONTAINERS or (files and Path(path).is_dir()):
        if not files:
            raise InputError(f"{where}: path: {path} needs data_files.")
        inside = Path(path) if path not in _CONTAINERS else Path()
        return [place(str(inside / file)) for file in listed(files)]
    if files:
        raise InputError(
            f"{where}: data_files of a data set on the Hub are not chosen here; name a "
            "configuration of it (OWNER/NAME:CONFIGURATION) or download them and name the files."
        )
    return [f"{place(path)}:{name}" if name else place(path)]


def _of_split(entry: Mapping[str, Any], left: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    split = entry.get("split")
    if split in (None, "train"):
        return {}
    if sliced := re.fullmatch(r"train\[:(\d+)\]", str(split)):
        return {"limit": int(sliced[1])}
    left["split"] = (split, "the split called train is learned; of others, name a file")
    return {}


def _of_type(entry: Mapping[str, Any], remarks: list[str], where: str) -> dict[str, Any]:
    """The entry's phrasing of rows."""
    kind = entry.get("type")
    if isinstance(kind, dict):
        return {"templates": _template(kind, remarks, where)}
    name = str(kind or "").split(":")[0].split(".")[0]
    if name in _TYPES:
        raise InputError(
            f"{where}: type: {kind} is {_TYPES[name]}, and brulee tunes on instructions with their "
            "answers, or on plain text."
        )
    if name == "completion":
        remarks.append(_DIVIDED)
        field = entry.get("field") or "text"
        return _PLAIN | ({"columns": {"text": field}} if field != "text" else {})
    if name == "alpaca":
        remarks.extend(_ALPACA)
    elif name not in ("", "sharegpt", "chat_template"):
        remarks.append(f"type: {kind} there; here the columns decide: see brulee data inspect")
    return {}


def _template(kind: Mapping[str, Any], remarks: list[str], where: str) -> dict[str, str]:
    """The template of a custom format, with {instruction} and {input} as placeholders.

    Missing formats are those of axolotl's UserDefinedDatasetConfig (0.19), except that a format
    which reads no input is used for rows without one too.
    """
    if "field_system" in kind:
        raise InputError(
            f"{where}: type.field_system is not read; write data.templates for these rows."
        )
    names = {
        part: str(kind.get(f"field_{part}") or part) for part in ("instruction", "input", "output")
    }
    both = str(kind.get("format") or "{instruction} {input} ")
    without = kind.get("no_input_format")
    if not without and "{input}" not in both:
        without = both
        remarks.append('a row without input is written as "{instruction} " there')
    prompt = alone = _jinja(str(without or "{instruction} "), names)
    if (kind.get("field_input") or "{input}" in str(kind.get("format"))) and without != both:
        both = _jinja(both, names)
        prompt = f"{{% if {names['input']} %}}{both}{{% else %}}{alone}{{% endif %}}"
    if system := kind.get("system_prompt"):
        shape = str(kind.get("system_format") or "{system}")
        prompt = f"{shape.replace('{system}', str(system))}{prompt}"
    return {"prompt": prompt, "completion": f"{{{{{names['output']}}}}}"}


def _jinja(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\{(instruction|input)\}", lambda m: f"{{{{{names[m[1]]}}}}}", text)


def _check_turns(entry: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless the keys of turns are ones that chats can have."""
    given = entry.get("message_property_mappings") or {}
    if not isinstance(given, dict):
        raise InputError(f"{where}: message_property_mappings: {given!r} is not a mapping.")
    mapped = dict(given)
    mapped.setdefault("role", entry.get("message_field_role") or "role")
    mapped.setdefault("content", entry.get("message_field_content") or "content")
    asked = {part: mapped[part] for part in ("role", "content")}
    stated = any(key.startswith("message_") for key in entry)
    if stated and asked not in _TURNS:
        raise InputError(
            f"{where}: the keys of a turn are role with content or from with value, not "
            f"{asked['role']} with {asked['content']}; rename them in the rows."
        )


def _why(key: str, value: Any) -> str:
    if key in ("chat_template", "chat_template_jinja", "conversation"):
        return "" if value == "tokenizer_default" else "model.chat_template: the tokenizer's own"
    if key == "roles_to_train" and set(listed(value)) <= {"assistant", "gpt"}:
        return ""
    if key == "field_tools" and value == "tools":
        return ""
    return _WHY.get(key, UNKNOWN)
