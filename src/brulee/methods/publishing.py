"""Prepare a tuned adapter or model for other users: its base gets its name on the Hub.

Locally, an adapter names its base by path, so that it loads without a network.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from brulee.errors import InputError
from brulee.methods.adapter_files import CARD, CONFIG, OURS, read_record
from brulee.methods.shelf import Stored
from brulee.methods.soundness import read_json
from brulee.models.hub_names import hub_name

_NAME = "base_model_name_or_path"
_FENCE = "---\n"


@contextmanager
def published(stored: Stored, base_id: str | None = None) -> Iterator[Path]:
    """A folder to share: the stored one, or a temporary copy that names no local base.

    `base_id` is the base's name on the Hub. Raises InputError for an adapter on a local base if it
    is missing.
    """
    texts = _texts(stored, base_id)
    if not texts:
        yield stored.folder
        return
    with tempfile.TemporaryDirectory(prefix="brulee-") as aside:
        folder = shutil.copytree(
            stored.folder.resolve(), Path(aside) / stored.folder.name, copy_function=_link
        )
        for name, text in texts.items():
            (folder / name).unlink(missing_ok=True)  # the link, not its target
            (folder / name).write_text(text, encoding="utf-8")
        yield folder


def _texts(stored: Stored, base_id: str | None) -> dict[str, str]:
    """The files that need other contents for publication, by name."""
    record, config = read_record(stored.folder), {}
    if stored.kind == "adapter":
        config = read_json(stored.folder / CONFIG)
    names = [record.get("base", {}).get("source"), config.get(_NAME)]
    source = names[0] or names[1]
    if base_id == source:
        base_id = None  # already its name, at the recorded revision
    public = base_id or (hub_name(source) if source else None)
    if public == source and names[1] in (None, source):
        return {}
    if public is None and stored.kind == "adapter":
        raise InputError(
            f"{stored.folder / CONFIG}: its base {source!r} is a local path, which nobody else "
            "has; give the base's name on the Hub, such as --base-id owner/name."
        )
    before = {OURS: _json(record), CONFIG: _json(config), CARD: _read(stored.folder / CARD)}
    after = {
        OURS: _json(_record(record, public, base_id)),
        CONFIG: _json(_config(config, public, base_id)),
        CARD: _card(before[CARD], public, [str(name) for name in names]),
    }
    return {name: text for name, text in after.items() if text != before[name]}


def _config(config: dict[str, Any], public: str | None, base_id: str | None) -> dict[str, Any]:
    """PEFT's configuration with the base's public name; a new `base_id` drops the old revision."""
    kept = {k: v for k, v in config.items() if k != "revision" or base_id is None}
    return {**kept, _NAME: public} if config else {}


def _record(record: dict[str, Any], public: str | None, base_id: str | None) -> dict[str, Any]:
    """Our record with the base's public name, and without a local path as its source."""
    base = dict(record.get("base", {}))
    if base_id is not None:
        base = {k: v for k, v in base.items() if k != "revision"} | {"source": base_id}
    elif public is None:
        base.pop("source", None)
    return {**record, "base": base} if record else {}


def _card(text: str, public: str | None, local: list[str]) -> str:
    """The model card with the base's public name in its header, and its local path removed."""
    for path in local:
        if Path(path).is_absolute():
            text = text.replace(path, public or Path(path).name)
    if not text.startswith(_FENCE) or _FENCE not in text[len(_FENCE) :]:
        return text
    head, body = text[len(_FENCE) :].split(_FENCE, 1)
    try:
        values = yaml.safe_load(head)
    except yaml.YAMLError:
        return text
    if not isinstance(values, dict) or values.get("base_model") == public:
        return text
    others = {key: value for key, value in values.items() if key != "base_model"}
    named = {"base_model": public, **others} if public else others
    return f"{_FENCE}{yaml.safe_dump(named, sort_keys=False)}{_FENCE}{body}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def _link(source: str, target: str) -> str:
    """Symlink if the system supports it, else copy: weights are large."""
    try:
        Path(target).symlink_to(source)
    except OSError:
        shutil.copy2(source, target)
    return target
