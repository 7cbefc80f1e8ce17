"""The name of a base model on the Hugging Face Hub, by which others can find it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from brulee.models.bundled import HUB_ID


def hub_name(source: str, resolve: Callable[[str], Path] = Path) -> str | None:
    """The Hub id of the base that a recipe or an adapter names; None for a local one."""
    if source == "bundled":
        return HUB_ID
    return source if is_hub_name(source) and not resolve(source).exists() else None


def is_hub_name(name: str) -> bool:
    """Whether a name is a valid repository id: `name`, or more often `owner/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
