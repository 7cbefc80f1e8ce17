"""What is sent to the Hub, and that nothing is sent without being asked for. No network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import BruleeError, InputError
from brulee.methods import build_method
from brulee.methods.checkpoint import WEIGHTS, save_adapter
from brulee.methods.pushing import push
from brulee.methods.shelf import Stored, locate
from brulee.models.loading import Base
from brulee.recipe import MethodSpec


class Hub:
    """Notes what it is asked for; `failure` is raised by the upload, or instead of a name."""

    def __init__(self, failure: Exception | None = None, known: bool = True) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.failure, self.known = failure, known

    def whoami(self) -> None:
        if not self.known:
            from huggingface_hub.errors import LocalTokenNotFoundError

            raise LocalTokenNotFoundError("no token")
        self.calls.append(("whoami", None))

    def create_repo(self, repo_id: str, **given: Any) -> None:
        self.calls.append(("create", (repo_id, given)))

    def upload_folder(self, **given: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(("upload", given))


@pytest.fixture
def stored(make_base: Callable[..., Base], tmp_path: Path) -> Stored:
    base = make_base("llama")
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    save_adapter(tmp_path / "run" / "adapter", attached, base, "tiny", "# Card\n", {})
    return locate(str(tmp_path / "run"))


@pytest.mark.parametrize("private", [True, False])
def test_the_adapters_folder_is_sent(stored: Stored, private: bool) -> None:
    hub = Hub()
    made = push(stored, "someone/chats", private, hub)
    assert [name for name, _ in hub.calls] == ["whoami", "create", "upload"]
    assert hub.calls[1][1] == ("someone/chats", {"private": private, "exist_ok": True})
    sent = hub.calls[2][1]
    assert (sent["repo_id"], sent["folder_path"]) == ("someone/chats", str(stored.folder))
    assert made.where == "https://huggingface.co/someone/chats"
    assert made.files == ("README.md", "adapter_config.json", WEIGHTS, "brulee.json")


def test_no_token_is_one_sentence(stored: Stored) -> None:
    hub = Hub(known=False)
    with pytest.raises(InputError, match=r"no token for the Hub.*hf auth login.*HF_TOKEN"):
        push(stored, "someone/chats", True, hub)
    assert not hub.calls


@pytest.mark.parametrize("name", ["chats", "a/b/c", "someone/../x", "some one/chats", ""])
def test_what_is_no_repository_is_refused(stored: Stored, name: str) -> None:
    hub = Hub()
    with pytest.raises(InputError, match="named owner/name"):
        push(stored, name, True, hub)
    assert not hub.calls


def test_what_is_damaged_is_not_sent(stored: Stored) -> None:
    file = stored.folder / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    hub = Hub()
    with pytest.raises(InputError, match="not those that were saved"):
        push(stored, "someone/chats", True, hub)
    assert not hub.calls


def test_what_the_hub_says_is_told(stored: Stored) -> None:
    hub = Hub(failure=OSError("the connection was lost\nand more"))
    with pytest.raises(BruleeError, match="someone/chats: the Hub did not take it: the connection"):
        push(stored, "someone/chats", True, hub)


def test_the_hubs_client_takes_what_it_is_given() -> None:
    import inspect

    from huggingface_hub import HfApi

    for name, given in {
        "whoami": set(),
        "create_repo": {"repo_id", "private", "exist_ok"},
        "upload_folder": {"repo_id", "folder_path", "commit_message", "ignore_patterns"},
    }.items():
        assert given <= inspect.signature(getattr(HfApi, name)).parameters.keys(), name
