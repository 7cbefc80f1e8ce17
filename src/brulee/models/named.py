"""What a model's name means: a path, or a Hub id, whose files are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from brulee.errors import InputError, nearest

# The files that transformers reads of a model.
TOKENIZER: Final = ("*.json", "*.jinja", "*.model", "*.spm", "*.txt")
WEIGHTS: Final = (*TOKENIZER, "*.safetensors")
# The same weights once more: Mistral's own format, and gpt-oss' in a folder.
OTHER_FORMAT: Final = "consolidated*.safetensors"
_AGAIN: Final = (OTHER_FORMAT, "*/*.safetensors")


def downloaded(name: str, revision: str | None, files: Sequence[str]) -> Path:
    """The folder of a Hub model in the Hub's cache, with these files of it; `revision` names one.

    Raises InputError if there is no such model, or the Hub cannot be reached or refuses it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=[*files], ignore_patterns=[*_AGAIN]
            )
        )
    except HFValidationError:
        raise InputError(no_such_model(Path(name), name)) from None
    except LocalEntryNotFoundError:
        raise InputError(
            f"model {name!r}: no such folder here, and the Hub cannot be reached; valid: bundled, "
            "a folder, a .gguf file, or a Hub id."
        ) from None
    except HfHubHTTPError as error:
        said = str(error).strip().splitlines()[0]
        raise InputError(f"model {name!r}: the Hub refused it: {said}") from None


def looks_like_path(name: str, path: Path | None = None) -> bool:
    """Whether a name that does not exist, at `path`, was meant as a path and not as a Hub id."""
    return (
        name.count("/") != 1
        or name.startswith((".", "/", "~"))
        or name.endswith((".gguf", ".safetensors", ".bin"))
        or (path or Path(name)).parent.is_dir()
    )


def check_name(name: str, path: Path | None = None) -> None:
    """Raise InputError for a name that is neither here, at `path`, nor can be a Hub id."""
    path = Path(name) if path is None else path
    if name != "bundled" and looks_like_path(name, path) and not path.exists():
        raise InputError(no_such_model(path, name))


def no_such_model(path: Path, name: str) -> str:
    """The error message for a path that does not exist, with the most similar name there."""
    parent = path.parent
    names = [p.name for p in parent.iterdir()] if parent.is_dir() else []
    close = nearest(path.name, [*names, "bundled"])
    # As typed, except for the last component.
    meant = [str(Path(name).with_name(one)) if one in names else one for one in close]
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    return (
        f"model {name!r}: no such folder or file.{hint} "
        "Valid: bundled, a folder, a .gguf file, or a Hub id like owner/name."
    )
