"""Reads entries of LLaMA-Factory's `dataset_info.json` as sources.

The keys are documented in data/README.md of github.com/hiyouga/LLaMA-Factory. Unlike there, an
unknown key is an error, and giving some `columns` keeps the defaults of the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.data.json_text import distinct, parse_json
from brulee.data.turn_names import KEYS, ROLES
from brulee.errors import InputError, unknown
from brulee.textfile import read_text

FILE_NAME = "dataset_info.json"
_ENTRY = re.compile(r"(.+\.json):([^/]+)")
_KEYS = (
    *("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name"),
    *("formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags"),
)
_ELSEWHERE = ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "folder")
# The column keys of each format, with our name for the column and the source's default name.
_COLUMNS: dict[str, dict[str, tuple[str, str | None]]] = {
    "alpaca": {
        "prompt": ("instruction", "instruction"),
        "query": ("input", "input"),
        "response": ("output", "output"),
        "history": ("history", None),
        "system": ("system", None),
        "tools": ("tools", None),
    },
    "sharegpt": {
        "messages": ("conversations", "conversations"),
        "system": ("system", None),
        "tools": ("tools", None),
    },
    "openai": {
        "messages": ("messages", "messages"),
        "system": ("system", None),
        "tools": ("tools", None),
    },
}
_UNREADABLE = {
    "images": "images",
    "videos": "videos",
    "audios": "sound",
    "chosen": "preference data",
    "rejected": "preference data",
    "kto_tag": "preference data",
}
_ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "assistant",
    "system_tag": "system",
}
_TAGS = ("role_tag", "content_tag", *_ROLE_TAGS)


@dataclass(frozen=True)
class InfoEntry:
    """What `open_source` needs to read an entry.

    `source` is a path, or a Hub id if `hub`; `columns` maps our names to the source's; `split` is
    the only split to read, None for all.
    """

    source: str
    columns: dict[str, str]
    limit: int | None = None
    split: str | None = None
    hub: bool = False


def split_entry(source: str) -> tuple[str, str] | None:
    """The file and the entry of a name like `path/to/dataset_info.json:NAME`, else None."""
    match = _ENTRY.fullmatch(source)
    return (match[1], match[2]) if match else None


def entry_names(path: Path) -> list[str]:
    """The names of the entries in a file."""
    return list(_load(path))


def read_dataset_info(path: str | Path, name: str) -> InfoEntry:
    """Read the entry called `name`; file names in it are relative to the `dataset_info.json`.

    Raises InputError naming the entry and the key for an unknown key (with the nearest), a column
    of a modality other than text, preference data, and an unsupported location.
    """
    file = Path(path)
    entries = _load(file)
    if name not in entries:
        raise unknown("data set", name, entries, str(path))
    entry, where = entries[name], f"{path}: {name}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: an entry is an object with the key file_name or hf_hub_url.")
    _check_keys(entry, _KEYS, where)
    if entry.get("ranking"):
        raise InputError(
            f"{where}: ranking: true is preference data, which is not instruction data."
        )
    formatting = entry.get("formatting", "alpaca")
    if not isinstance(formatting, str) or formatting not in _COLUMNS:
        raise unknown("formatting", formatting, _COLUMNS, where)
    _check_tags(_section(entry, "tags", where), where)
    columns = _columns(formatting, _section(entry, "columns", where), where)
    source, hub = _source(entry, file.parent, where)
    return InfoEntry(source, columns, _limit(entry, where), _split(entry, where), hub)


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: no such file.")
    entries = parse_json(read_text(file), file, pairs=distinct)
    if not isinstance(entries, dict):
        raise InputError(f"{file}: it has to be an object with one entry per data set.")
    return entries


def _check_keys(values: Mapping[str, Any], valid: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in valid:
            raise unknown("key", key, valid, where)


def _section(entry: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    section = entry.get(key) or {}
    if not isinstance(section, dict) or not all(isinstance(v, str) for v in section.values()):
        raise InputError(f"{where}: {key} is an object of names.")
    return section


def _split(entry: Mapping[str, Any], where: str) -> str | None:
    """The only split to read; None, for all, if it is `train`, the default."""
    split = entry.get("split", "train")
    if not isinstance(split, str) or not split or "[" in split:
        raise InputError(f"{where}: split {split!r} is not the name of a split; use num_samples.")
    return None if split == "train" else split


def _check_tags(tags: Mapping[str, str], where: str) -> None:
    _check_keys(tags, _TAGS, f"{where}, tags")
    keys = (tags.get("role_tag", "from"), tags.get("content_tag", "value"))
    if keys not in KEYS:
        shown = " or ".join(" with ".join(pair) for pair in KEYS)
        raise InputError(
            f"{where}, tags: the keys of a turn are {shown}, not {' with '.join(keys)}."
        )
    for tag, role in _ROLE_TAGS.items():
        if tag in tags and ROLES.get(tags[tag].lower()) != role:
            valid = [known for known, means in ROLES.items() if means == role]
            raise unknown(tag, tags[tag], valid, f"{where}, tags")


def _columns(formatting: str, given: Mapping[str, str], where: str) -> dict[str, str]:
    """Map our names to the source's; a default with the same name needs no mapping."""
    for key in given:
        if key in _UNREADABLE:
            raise InputError(f"{where}, columns: {key} names {_UNREADABLE[key]}, not read here.")
    known = _COLUMNS[formatting]
    _check_keys(given, tuple(known), f"{where}, columns")
    merged = {ours: given.get(key, default) for key, (ours, default) in known.items()}
    asked = {known[key][0] for key in given}
    return {ours: own for ours, own in merged.items() if own and (own != ours or ours in asked)}


def _source(entry: Mapping[str, Any], folder: Path, where: str) -> tuple[str, bool]:
    """The location, and whether it is on the Hub, which is preferred if both are given."""
    hub, file, subset = (entry.get(key) for key in ("hf_hub_url", "file_name", "subset"))
    unread = [key for key in _ELSEWHERE if entry.get(key)]
    if "folder" in unread or (unread and not hub and not file):
        raise InputError(f"{where}: {unread[-1]} cannot be read; give file_name or hf_hub_url.")
    if isinstance(hub, str) and hub:
        return (f"{hub}:{subset}" if subset else hub), True
    if not isinstance(file, str) or not file:
        raise InputError(f"{where}: the key file_name or hf_hub_url is required.")
    if subset:
        raise InputError(
            f"{where}: subset {subset!r} applies to data sets of the Hub; a file has none."
        )
    return str(folder / file), False


def _limit(entry: Mapping[str, Any], where: str) -> int | None:
    count = entry.get("num_samples")
    if count is not None and (type(count) is not int or count < 1):
        raise InputError(f"{where}: num_samples {count!r} is not a number of rows.")
    return count
