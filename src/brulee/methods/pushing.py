"""Upload of a tuned adapter or model to the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from brulee.errors import BruleeError, InputError
from brulee.methods.publishing import published
from brulee.methods.reading import inspect
from brulee.methods.shelf import Stored
from brulee.models.hub_names import is_hub_name

_LEFT_OUT = ("checkpoints/*", "*.tmp", ".*")


class Hub(Protocol):
    """The methods used of the Hub's client; `huggingface_hub.HfApi` is one."""

    def whoami(self) -> Any:
        """The owner of the token."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Create a repository if it does not exist."""

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str, ignore_patterns: list[str]
    ) -> Any:
        """Upload a folder's files to it."""


@dataclass(frozen=True)
class Pushed:
    """The URL on the Hub, and the names of the files."""

    where: str
    files: tuple[str, ...]


def plan_push(stored: Stored, to: str, base_id: str | None = None) -> Pushed:
    """What `push` would send, and where; nothing leaves the machine.

    Raises InputError for what `push` would refuse before it contacts the Hub.
    """
    _check_name("--to", to)
    if base_id is not None:
        _check_name("--base-id", base_id)
    inspect(stored)  # damaged files are not published
    with published(stored, base_id) as folder:
        return Pushed(f"https://huggingface.co/{to}", _sent(folder))


def push(
    stored: Stored,
    to: str,
    private: bool = True,
    hub: Hub | None = None,
    base_id: str | None = None,
) -> Pushed:
    """Upload a run's result to the Hub repository `to`, owner/name, created if needed.

    `base_id` is the base's name on the Hub, if it has another name locally; `hub` replaces the
    Hub's own client. Raises InputError for an invalid name, for damage, for an adapter whose base
    only exists locally, and for a missing token; BruleeError if the Hub refuses the upload.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    # One of this error's base classes is also the base of every error of its HTTP client.
    bases = (base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))
    failures: tuple[type[Exception], ...] = (OSError, *bases)
    planned = plan_push(stored, to, base_id)
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()
    try:
        with published(stored, base_id) as folder:
            hub.whoami()
            hub.create_repo(to, private=private, exist_ok=True)
            hub.upload_folder(
                repo_id=to,
                folder_path=str(folder),
                commit_message="Upload what brulee tuned",
                ignore_patterns=list(_LEFT_OUT),
            )
    except LocalTokenNotFoundError:
        raise InputError(
            "no token for the Hub was found: run `hf auth login`, or set HF_TOKEN."
        ) from None
    except failures as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BruleeError(f"{to}: the Hub refused the upload: {reason}") from None
    return planned


def _sent(folder: Path) -> tuple[str, ...]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return tuple(name for name in names if not any(fnmatch(name, out) for out in _LEFT_OUT))


def _check_name(option: str, name: str) -> None:
    if name.count("/") != 1 or not is_hub_name(name):
        raise InputError(f"{option} {name!r}: a repository on the Hub is named owner/name.")
