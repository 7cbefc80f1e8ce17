"""Tuned adapters and models on disk: found under a folder, or by the name of a run or folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brulee.errors import InputError, nearest
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS, read_record
from brulee.methods.checkpoint import open_adapter, with_combined
from brulee.shell import word

Kind = Literal["adapter", "model"]


@dataclass(frozen=True)
class Stored:
    """An adapter or a fully tuned model; `folder` holds its files."""

    kind: Kind
    folder: Path

    def run(self) -> Path | None:
        """The run that made it; None if it is not in a run's folder."""
        parent = self.folder.parent
        return parent if (parent / "recipe.yaml").is_file() else None

    def weights(self) -> list[Path]:
        """The files with its tensors."""
        found = self.folder.glob("*.safetensors" if self.kind == "model" else WEIGHTS)
        return sorted(path for path in found if path.is_file())


@dataclass(frozen=True)
class Entry:
    """One line of a list; `problem` says why the entry cannot be read."""

    stored: Stored
    label: str = ""
    base: str = ""
    size: int = 0
    problem: str | None = None


def locate(target: str) -> Stored:
    """The adapter or whole model of a run, or of a folder that is one itself.

    Raises InputError naming what is missing.
    """
    folder = Path(target).expanduser()
    _check_folder(folder, target)
    for place in (folder, folder / "adapter", folder / "model"):
        found = _stored(place)
        if found is not None:
            return found
    if (folder / "recipe.yaml").is_file():
        raise InputError(
            f"{target}: this run has stored nothing yet; continue it with: "
            f"brulee resume {word(target)}"
        )
    raise InputError(
        f"{target}: neither a run nor an adapter: it has no {CONFIG}, nor a folder adapter/ or "
        "model/ of a run."
    )


def locate_adapter(target: str) -> Path:
    """The folder of an adapter. Raises InputError as `locate` does, and for a whole model."""
    found = locate(target)
    if found.kind == "model":
        raise InputError(
            f"{target}: fully tuned: {found.folder} is an ordinary model, not an adapter."
        )
    return found.folder


def entries(folder: Path) -> list[Entry]:
    """All tuned adapters and models under a folder, by path; damage is reported, not raised.

    Hidden folders are skipped. Raises InputError if the folder does not exist.
    """
    _check_folder(folder, str(folder))
    return [_entry(stored) for stored in _walk(folder)]


def made_by(ours: dict[str, Any]) -> str:
    """How a whole model was tuned, from its brulee.json: "full", "LoRA r8, merged"."""
    label = ours.get("merged", {}).get("label")
    if label:
        return f"{label}, merged"
    return with_combined(str(ours.get("method", {}).get("name", "")), ours)


def _walk(folder: Path) -> Iterator[Stored]:
    for place, inner, _ in os.walk(folder):
        found = _stored(Path(place))
        inner[:] = sorted(name for name in inner if not name.startswith(".") and found is None)
        if found is not None:
            yield found


def _stored(folder: Path) -> Stored | None:
    if (folder / CONFIG).is_file():
        return Stored("adapter", folder)
    if (folder / OURS).is_file() and (folder / "config.json").is_file():
        return Stored("model", folder)
    return None


def _entry(stored: Stored) -> Entry:
    size = sum(path.stat().st_size for path in stored.weights())
    try:
        if stored.kind == "model":
            if not stored.weights():
                raise InputError(f"{stored.folder}: it has no *.safetensors file with weights.")
            ours = read_record(stored.folder)
            return Entry(stored, made_by(ours), _base(ours), size)
        adapter = open_adapter(stored.folder)
        return Entry(stored, adapter.label(), adapter.base_name or "", size)
    except InputError as error:
        return Entry(stored, size=size, problem=str(error))


def _base(ours: dict[str, Any]) -> str:
    base = ours.get("base", {})
    return str(base.get("source") or base.get("name") or "")


def _check_folder(folder: Path, given: str) -> None:
    if folder.is_file():
        raise InputError(f"{given}: a file; give the folder of a run or of an adapter.")
    if not folder.is_dir():
        raise InputError(f"{given}: no such folder.{_hint(folder)}")


def _hint(folder: Path) -> str:
    beside = sorted(p.name for p in folder.parent.iterdir()) if folder.parent.is_dir() else []
    close = nearest(folder.name, beside)
    return f" Did you mean {folder.parent / close[0]}?" if close else ""
