"""Adapters come and go while others answer: by name under a root, bounded, in versions."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

Serve = Callable[..., Any]
TEXT = "Which of these reviews is the most positive?"
LONG: dict[str, Any] = {"max_tokens": 160, "temperature": 1.5, "seed": 11}


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def _long(server: Any, model: str, pool: ThreadPoolExecutor) -> Any:
    """A request that is being answered, and goes on for a while."""
    before = server.serving.worker.running
    done = pool.submit(server.chat, model, TEXT, **LONG)
    _wait_for(lambda: server.serving.worker.running > before or done.done())
    return done


def _refused(answer: Any, status: int, told: str) -> None:
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]


def test_an_adapter_is_loaded_and_unloaded_by_its_name(serve: Serve) -> None:
    server = serve(loading=True)
    _refused(server.chat("lora", TEXT), 404, "no model 'lora'")
    answer = server.post("load_lora_adapter", lora_name="lora")
    assert answer.text.startswith("Success: adapter 'lora' is lora@")
    assert server.post("load_lora_adapter", lora_name="mine", lora_path="ia3").status_code == 200
    text = server.text("mine", TEXT, max_tokens=9)
    key = next(name for name in server.held.names if name.startswith("mine@"))
    assert text == server.held.complete([TEXT], [key], max_new_tokens=9)[0]
    _refused(server.post("load_lora_adapter", lora_name="lora"), 400, "is already served")
    assert server.post("unload_lora_adapter", lora_name="lora").status_code == 200
    _refused(server.chat("lora", TEXT), 404, "Served: tiny, mine.")
    _refused(server.post("unload_lora_adapter", lora_name="lora"), 404, "Served: mine.")
    assert [name.split("@")[0] for name in server.held.names] == ["mine"]


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc", "..", ".", "a/../../secret", "", "lora/", "a//b", "~", "lo ra", "a\\b"],
)
def test_paths_that_lead_out_of_the_root_are_refused(
    serve: Serve, tmp_path: Path, adapters: Path, path: str
) -> None:
    shutil.copytree(adapters / "lora", tmp_path / "secret")
    shutil.copytree(adapters / "lora", tmp_path / "root" / "lora")
    server = serve(loading=True, root=tmp_path / "root")
    answer = server.post("load_lora_adapter", lora_name="x", lora_path=path)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "lora_path"
    assert str(tmp_path) not in answer.text
    assert server.held.names == []


def test_links_that_lead_out_of_the_root_are_refused(
    serve: Serve, tmp_path: Path, adapters: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(adapters / "lora", root / "lora")
    shutil.copytree(adapters / "lora", tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path / "secret")
    (root / "run").mkdir()
    (root / "run" / "adapter").symlink_to(tmp_path / "secret")
    shutil.copytree(adapters / "lora", root / "file")
    weights = root / "file" / "adapter_model.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "secret" / "adapter_model.safetensors")
    (root / "inside").symlink_to(root / "lora")
    server = serve(loading=True, root=root)
    weights_lead = "adapter_model.safetensors leads elsewhere"
    told_of = {"linked": "no adapter 'linked'", "run": "leads elsewhere", "file": weights_lead}
    for name, told in told_of.items():
        answer = server.post("load_lora_adapter", lora_name=name)
        assert told in answer.json()["error"]["message"]
        assert str(tmp_path) not in answer.text
    assert server.held.names == []
    assert server.post("load_lora_adapter", lora_name="inside").status_code == 200


@pytest.mark.parametrize("name", ["../x", "a b", "", "a/b", "a:b", "a@b", "tiny", ".a", "x" * 97])
def test_names_that_are_none_are_refused(serve: Serve, name: str) -> None:
    server = serve(loading=True)
    answer = server.post("load_lora_adapter", lora_name=name, lora_path="lora")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "lora_name"
    assert server.held.names == []


def test_too_large_an_adapter_is_refused_before_it_is_read(
    serve: Serve, tmp_path: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("big", "ranked", "said", "damaged", "pickled", "other"):
        shutil.copytree(adapters / "lora", tmp_path / name)
    weights = "adapter_model.safetensors"
    with (tmp_path / "big" / weights).open("ab") as file:
        os.truncate(file.fileno(), 3 * 2**30)
    tensors = load_file(tmp_path / "ranked" / weights)
    high = {k: torch.zeros(300, t.shape[1]) if "lora_A" in k else t for k, t in tensors.items()}
    save_file(high, tmp_path / "ranked" / weights)
    config = tmp_path / "said" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "r": 10**9}))
    (tmp_path / "damaged" / weights).write_bytes(b"\xff" * 7 + b"\x7f" + b"{}")
    (tmp_path / "pickled" / weights).rename(tmp_path / "pickled" / "adapter_model.bin")
    config = tmp_path / "other" / "brulee.json"
    config.write_text(config.read_text().replace('"digest": "', '"digest": "0'))
    server = serve("ia3", loading=True, root=tmp_path, rank=64)
    before = server.text("ia3", TEXT, max_tokens=6)

    def not_read(*_: Any, **__: Any) -> None:
        raise AssertionError("tensors were read")

    for name, told in (
        ("other", "made for the base"),
        ("big", "3221225472 bytes; at most 536870912"),
        ("ranked", "rank "),
        ("said", "rank 1000000000 (r of adapter_config.json); at most 64"),
        ("damaged", "adapter_model.safetensors"),
        ("pickled", "only safetensors is"),
        ("nothing", "no adapter 'nothing'"),
    ):
        answer = server.post("load_lora_adapter", lora_name=name)
        assert answer.status_code == (404 if name == "nothing" else 400), (name, answer.text)
        assert told in answer.json()["error"]["message"]
        assert str(tmp_path) not in answer.text
        monkeypatch.setattr("brulee.methods.soundness.load_file", not_read)
    assert server.text("ia3", TEXT, max_tokens=6) == before
    assert len(server.held.names) == 1


def test_more_adapters_than_may_be_are_refused(serve: Serve) -> None:
    server = serve("ia3", loading=True, adapters=2)
    assert server.post("load_lora_adapter", lora_name="lora").status_code == 200
    answer = server.post("load_lora_adapter", lora_name="prefix")
    _refused(answer, 400, "2 adapters are served, of at most 2")


def test_unloading_waits_for_its_requests_and_refuses_new_ones(serve: Serve) -> None:
    server = serve("lora", "ia3", loading=True)
    alone = server.chat("lora", TEXT, **LONG).json()["choices"]
    assert len(alone[0]["message"]["content"]) > 100
    with ThreadPoolExecutor(3) as pool:
        long = _long(server, "lora", pool)
        unloaded = pool.submit(server.post, "unload_lora_adapter", lora_name="lora")
        _wait_for(lambda: len(server.serving.store.versions) == 1)
        _refused(server.chat("lora", TEXT), 404, "no model 'lora'")
        assert not unloaded.done()
        assert server.text("ia3", TEXT, max_tokens=3)
        assert long.result().json()["choices"] == alone
        assert unloaded.result().status_code == 200
    assert len(server.held.names) == 1


def test_a_version_is_let_go_once(serve: Serve, adapters: Path) -> None:
    """It was unloaded while its next version was loaded, and is served again."""
    store = (server := serve("lora")).serving.store
    before = store.versions[0]
    store.remove("lora")
    store.add("lora", adapters / "lora", 2)
    store._retire(before)
    assert server.text("lora", TEXT, max_tokens=3)


def test_unloading_does_not_wait_for_who_reads_nothing(serve: Serve) -> None:
    server = serve("lora", loading=True)
    body = {"model": "lora", "prompt": TEXT, "max_tokens": 30, "stream": True, "echo": True}
    sent: list[Any] = []

    async def ask() -> None:
        reading, begun = asyncio.Event(), asyncio.Event()
        coming = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

        async def receive() -> Any:
            if not coming:
                await asyncio.Event().wait()
            return coming.pop()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))
            if sent[-1]:
                begun.set()
                await reading.wait()

        headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/completions", "headers": headers,
            "query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        asked = asyncio.create_task(server.client.app(scope, receive, send))
        await begun.wait()
        unload = asyncio.to_thread(server.post, "unload_lora_adapter", lora_name="lora")
        try:
            answer = await asyncio.wait_for(unload, 20)
        finally:
            reading.set()
        assert answer.status_code == 200, answer.text
        assert server.held.names == []
        await asked

    asyncio.run(ask())
    assert sent[-2] == b"data: [DONE]\n\n"
    events = [json.loads(one.removeprefix(b"data: ")) for one in sent[1:-2]]
    assert "".join(one["choices"][0]["text"] for one in events).startswith(TEXT)


def test_a_name_that_gets_another_version_answers_each_request_with_its_own(
    serve: Serve, tmp_path: Path, adapters: Path
) -> None:
    shutil.copytree(adapters / "lora", tmp_path / "mine")
    server = serve(loading=True, root=tmp_path)
    server.post("load_lora_adapter", lora_name="mine")
    old = server.chat("mine", TEXT, **LONG).json()
    shutil.rmtree(tmp_path / "mine")
    shutil.copytree(adapters / "lora-too", tmp_path / "mine")
    with ThreadPoolExecutor(2) as pool:
        long = _long(server, "mine", pool)
        answer = server.post("load_lora_adapter", lora_name="mine", load_inplace=True)
        assert answer.status_code == 200, answer.text
        assert not long.done()
        new = server.chat("mine", TEXT, max_tokens=4).json()
        found = long.result().json()
    assert found["choices"] == old["choices"]
    assert found["system_fingerprint"] == old["system_fingerprint"] != new["system_fingerprint"]
    _wait_for(lambda: server.held.names == [new["system_fingerprint"]])
    key = new["system_fingerprint"]
    expected = server.held.complete([TEXT], [key], max_new_tokens=4)[0]
    assert new["choices"][0]["message"]["content"] == expected
    _refused(server.chat(old["system_fingerprint"], TEXT), 404, "no model")


def test_what_is_unloaded_is_freed(serve: Serve) -> None:
    server = serve("lora", loading=True)
    names = ["ia3", "prefix", "sparse", "lora-too"]
    before = {n: p.clone() for n, p in server.held.base.model.named_parameters()}
    gone: list[weakref.ref[Any]] = []
    for _ in range(3):
        for name in names:
            assert server.post("load_lora_adapter", lora_name=name).status_code == 200
        texts = [server.text(name, TEXT, max_tokens=4) for name in [*names, "lora"]]
        assert len(set(texts)) > 3
        views = [server.held._swap.view(key) for key in server.held.names[1:]]
        gone += [weakref.ref(part) for base, on in views for part in (base.model, on)]
        del views
        for name in names:
            assert server.post("unload_lora_adapter", lora_name=name).status_code == 200
    server.text("lora", TEXT, max_tokens=2)
    gc.collect()
    assert [ref() for ref in gone if ref() is not None] == []
    for name, parameter in server.held.base.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_adapters_come_and_go_while_others_are_answered(serve: Serve) -> None:
    server = serve("lora", "ia3", loading=True)
    more = {"max_tokens": 24, "temperature": 1.0}
    models = ["tiny", "lora", "ia3"]
    expected = {m: server.text(m, TEXT, seed=3, **more) for m in models}
    stopping = threading.Event()

    def churn() -> None:
        while not stopping.is_set():
            for name in ("sparse", "prefix", "lora-too"):
                assert server.post("load_lora_adapter", lora_name=name).status_code == 200
            for name in ("sparse", "prefix", "lora-too"):
                assert server.post("unload_lora_adapter", lora_name=name).status_code == 200

    with ThreadPoolExecutor(7) as pool:
        churning = pool.submit(churn)
        asked = [pool.submit(server.text, models[i % 3], TEXT, seed=3, **more) for i in range(18)]
        found = [one.result() for one in asked]
        stopping.set()
        churning.result()
    assert found == [expected[models[i % 3]] for i in range(18)]


def test_others_are_answered_while_an_adapter_is_read_and_tried(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("ia3", loading=True)
    expected = server.text("ia3", TEXT, max_tokens=9)
    prepare, begun, answered = server.held.prepare, threading.Event(), threading.Event()
    usual = sys.getswitchinterval()

    def slow(folder: Any) -> Any:
        assert sys.getswitchinterval() < usual
        found = prepare(folder)
        begun.set()
        assert answered.wait(30)
        return found

    monkeypatch.setattr(server.held, "prepare", slow)
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(server.post, "load_lora_adapter", lora_name="lora")
        assert begun.wait(30)
        assert server.text("ia3", TEXT, max_tokens=9) == expected
        _refused(server.chat("lora", TEXT), 404, "no model 'lora'")
        answered.set()
        assert loaded.result().status_code == 200
    assert sys.getswitchinterval() == usual
    key = next(name for name in server.held.names if name.startswith("lora@"))
    text = server.text("lora", TEXT, max_tokens=9)
    assert text == server.held.complete([TEXT], [key], max_new_tokens=9)[0]


def test_what_writes_into_the_base_is_not_read_beside_what_is_computed(
    serve: Serve, adapters: Path
) -> None:
    held = serve("ia3").held
    assert held.prepare(adapters / "sparse") is None
    assert held.prepare(adapters / "lora") is not None
    held.add("mask", adapters / "sparse")
    assert held.prepare(adapters / "lora") is None
    held.remove("mask")
    assert held.prepare(adapters / "lora") is not None
