"""Loading of what a server starts with: a base and named adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brulee.errors import InputError
from brulee.inference.adapters import Adapters, loading_for, shared_precision
from brulee.methods.adapter_files import CONFIG, read_record
from brulee.methods.checkpoint import open_adapter
from brulee.methods.shelf import locate_adapter
from brulee.methods.whole import check_whole
from brulee.models.loading import load_base
from brulee.models.precision import pick_device, pick_dtype
from brulee.progress import waiting


@dataclass(frozen=True)
class Opened:
    """A loaded base without adapters yet, its name, and the folders of adapters by name."""

    held: Adapters
    base: str
    adapters: dict[str, Path]


@waiting("Loading the model")
def open_served(
    target: str,
    adapters: Mapping[str, str],
    device: str = "auto",
    precision: str = "auto",
    base: str | None = None,
    languages: Mapping[str, str] | None = None,
) -> Opened:
    """Load the base: the model `target`, or the base of the adapter `target`.

    A target that is an adapter or a run is served under its folder's name. `languages` as in
    `open_session`, which raises InputError for the same reasons.
    """
    where = pick_device(device)
    dtype = pick_dtype(shared_precision(precision, [target, *adapters.values()]), where)
    name, folder = _own(target, adapters)
    folders = {name: folder} if folder is not None else {}
    folders |= {name: locate_adapter(place) for name, place in adapters.items()}
    found = {name: open_adapter(place) for name, place in folders.items()}
    loading, given = loading_for(found, languages), languages is not None
    if folder is not None:
        source, revision = found[name].named_base(base)
        held = Adapters(load_base(source, dtype, where, revision, **loading), given=given)
        return Opened(held, called(source), folders)
    if base is not None:
        raise InputError(
            f"{target}: this is not an adapter, so it has no base to replace with {base!r}."
        )
    model = Path(target) / "model" if _is_tuned_whole(target) else Path(target)
    loaded = load_base(str(model), dtype, where, **loading)
    check_whole(model, loaded)
    return Opened(Adapters(loaded, read_record(model), given), called(target), folders)


def called(source: str) -> str:
    """A base's name: the last part of its path or of its Hub id."""
    return Path(source).resolve().name if Path(source).exists() else source.split("/")[-1]


def _own(target: str, adapters: Mapping[str, str]) -> tuple[str, Path | None]:
    """The name and folder of a target that is an adapter; None as folder if it is not."""
    folder = Path(target)
    marks = folder / "recipe.yaml", folder / CONFIG, folder / "adapter" / CONFIG
    if _is_tuned_whole(target) or not any(mark.is_file() for mark in marks):
        return "", None
    found = locate_adapter(target)
    whole = found.parent if found.name == "adapter" else found
    name = whole.resolve().name
    if name in adapters:
        raise InputError(f"--adapter {name}=...: {target} is served as {name!r} already.")
    return name, found


def _is_tuned_whole(target: str) -> bool:
    return (Path(target) / "model" / "config.json").is_file()
