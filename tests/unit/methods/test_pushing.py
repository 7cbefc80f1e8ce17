"""What is sent to the Hub, and that nothing is sent without being asked for. No network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from brulee.errors import BruleeError, InputError
from brulee.methods import build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.checkpoint import open_adapter
from brulee.methods.pushing import push
from brulee.methods.shelf import Stored, locate
from brulee.methods.storing import save_adapter, write_record
from brulee.models.bundled import HUB_ID
from brulee.models.loading import Base
from brulee.recipe import MethodSpec


class Hub:
    """Notes what it is asked for; `failure` is raised by the upload, or instead of a name."""

    def __init__(self, failure: Exception | None = None, known: bool = True) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.failure, self.known = failure, known
        self.sent: dict[str, bytes] = {}

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
        self.sent = {p.name: p.read_bytes() for p in Path(given["folder_path"]).iterdir()}


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


def _on(base: Base, source: str, folder: Path, card: str = "# Card\n") -> Stored:
    """An adapter on a base that a recipe called `source`."""
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    save_adapter(folder / "adapter", attached, base, source, card, {})
    attached.detach()
    return locate(str(folder))


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def here(make_base: Callable[..., Base], tiny_model_folder: Path) -> Base:
    """A base that lies on this machine."""
    return replace(make_base("llama"), folder=tiny_model_folder)


def test_a_base_that_nobody_else_has_needs_a_name(
    here: Base, tiny_model_folder: Path, tmp_path: Path
) -> None:
    hub = Hub()
    stored = _on(here, str(tiny_model_folder), tmp_path)
    with pytest.raises(InputError, match=rf"{CONFIG}: its base .* is a local path.*--base-id"):
        push(stored, "someone/chats", True, hub)
    with pytest.raises(InputError, match="--base-id 'llama': a repository on the Hub is named"):
        push(stored, "someone/chats", True, hub, base_id="llama")
    assert not hub.calls


def test_its_name_on_the_hub_is_sent_and_no_path(
    here: Base, tiny_model_folder: Path, tmp_path: Path
) -> None:
    path = str(tiny_model_folder)
    card = f"---\nlibrary_name: peft\n---\n# Card\n\nmodel: {path}\n"
    stored, hub = _on(here, path, tmp_path, card), Hub()
    before = _files(stored.folder)
    push(stored, "someone/chats", True, hub, base_id="acme/tiny")
    assert _files(stored.folder) == before, "the run's own files are left alone"
    assert hub.sent.keys() == before.keys()
    assert json.loads(hub.sent[CONFIG])["base_model_name_or_path"] == "acme/tiny"
    assert json.loads(hub.sent[OURS])["base"]["source"] == "acme/tiny"
    assert hub.sent["README.md"].startswith(b"---\nbase_model: acme/tiny\nlibrary_name: peft\n---")
    assert hub.sent[WEIGHTS] == before[WEIGHTS]
    assert not any(path.encode() in content for content in hub.sent.values())
    received = tmp_path / "received"
    received.mkdir()
    for name, content in hub.sent.items():
        (received / name).write_bytes(content)
    open_adapter(received).method()
    assert open_adapter(received).base_name == "acme/tiny"


def test_the_bundled_model_is_sent_under_its_name(here: Base, tmp_path: Path) -> None:
    card, hub = "---\nbase_model: bundled\n---\n# Card\n", Hub()
    push(_on(here, "bundled", tmp_path, card), "someone/chats", True, hub)
    assert json.loads(hub.sent[CONFIG])["base_model_name_or_path"] == HUB_ID
    assert json.loads(hub.sent[OURS])["base"]["source"] == "bundled"
    assert hub.sent["README.md"].startswith(f"---\nbase_model: {HUB_ID}\n---".encode())


def test_a_base_of_another_name_has_no_revision_of_this_one(here: Base, tmp_path: Path) -> None:
    stored, hub = _on(replace(here, revision="v1"), "acme/tiny", tmp_path), Hub()
    for base_id in (None, "acme/tiny"):
        push(stored, "someone/chats", True, hub, base_id)
        assert hub.sent == _files(stored.folder)
        assert json.loads(hub.sent[CONFIG])["revision"] == "v1"
    push(stored, "someone/chats", True, hub, base_id="acme/other")
    assert "revision" not in json.loads(hub.sent[CONFIG])
    assert "revision" not in json.loads(hub.sent[OURS])["base"]


def test_a_model_tuned_whole_is_sent_without_its_bases_path(
    here: Base, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder, hub = tmp_path / "model", Hub()
    here.model.save_pretrained(folder)
    write_record(folder, here, str(tiny_model_folder), {})
    push(locate(str(folder)), "someone/chats", True, hub)
    assert hub.sent.keys() == _files(folder).keys()
    assert json.loads(hub.sent[OURS])["base"].keys() == {"name", "digest"}


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
    with pytest.raises(
        BruleeError, match="someone/chats: the Hub refused the upload: the connection"
    ):
        push(stored, "someone/chats", True, hub)


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    nowhere = HfApi(endpoint="http://127.0.0.1:9", token="hf_none")  # the port that discards
    with pytest.raises(BruleeError, match="someone/chats: the Hub refused the upload: "):
        push(stored, "someone/chats", True, nowhere)


def test_a_connection_that_breaks_while_it_sends_is_one_sentence(stored: Stored) -> None:
    raised = [base for base in HfHubHTTPError.__bases__ if not issubclass(base, OSError)]
    assert raised, "the client's own errors have another base now"
    with pytest.raises(BruleeError, match="the Hub refused the upload: the line went dead"):
        push(stored, "someone/chats", True, Hub(failure=raised[0]("the line went dead")))


def test_the_hubs_client_takes_what_it_is_given() -> None:
    import inspect

    for name, given in {
        "whoami": set(),
        "create_repo": {"repo_id", "private", "exist_ok"},
        "upload_folder": {"repo_id", "folder_path", "commit_message", "ignore_patterns"},
    }.items():
        assert given <= inspect.signature(getattr(HfApi, name)).parameters.keys(), name
