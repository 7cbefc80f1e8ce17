"""`brulee serve` as a process, asked over a socket."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from brulee.models.loading import load_base

ROOT = Path(__file__).parents[2]
store_adapter = runpy.run_path(str(ROOT / "tests/unit/inference/test_adapters.py"))["_store"]
TEXT = "Which of these reviews is the most positive?"
KEY = "correct-horse"
LONG = {"max_tokens": 400, "temperature": 1.5, "seed": 11}


@pytest.fixture(scope="module")
def adapters(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    for way in ("lora", "ia3"):
        store_adapter(base, way, root / way)
    return root


@contextmanager
def _serving(*arguments: object, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server's process and where it listens."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **more}
    command = [sys.executable, "-m", "brulee", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json", "--quiet"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.communicate()


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": TEXT}], **more}


def _ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends as it should said on stderr."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return errors


def _metric(client: httpx.Client, name: str, unsaid: float | None = None) -> float:
    """A number, or `unsaid` where it has not been counted yet."""
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    found = [float(line.split()[-1]) for line in lines if line.startswith(f"brulee_{name}")]
    return found[0] if unsaid is None or found else unsaid


@pytest.fixture(scope="module")
def server(tiny_model_folder: Path, adapters: Path) -> Iterator[httpx.Client]:
    """Asks a server that has a base and two adapters, wants a key and answers one at a time.

    It ends when told, without a word on stderr about whatever was asked.
    """
    pairs = [f"--adapter={name}={adapters / name}" for name in ("lora", "ia3")]
    arguments = (tiny_model_folder, *pairs, "--max-running", "1")
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        _serving(*arguments, BRULEE_API_KEY=KEY) as (process, url),
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield client
        process.send_signal(signal.SIGINT)
        assert _ended(process) == ""


def test_a_server_answers_what_generate_writes(
    tiny_model_folder: Path, adapters: Path, server: httpx.Client, brulee: Callable[..., Any]
) -> None:
    pairs = [f"--adapter={name}={adapters / name}" for name in ("lora", "ia3")]
    said = brulee("generate", tiny_model_folder, *pairs, "--prompt", TEXT, "--json")
    expected = [one["completion"] for one in said.json]
    for model, text in zip((tiny_model_folder.name, "lora", "ia3"), expected, strict=True):
        answer = server.post("/v1/chat/completions", json=_body(model))
        assert answer.json()["choices"][0]["message"]["content"] == text


@pytest.mark.slow
def test_a_stream_comes_in_pieces_and_is_finished_before_the_end(
    tiny_model_folder: Path, adapters: Path
) -> None:
    arguments = (adapters / "lora", "--base", tiny_model_folder)
    with (
        _serving(*arguments) as (process, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        whole = client.post("/v1/chat/completions", json=_body("lora", **LONG)).json()
        pieces: list[str] = []
        with client.stream(
            "POST", "/v1/chat/completions", json=_body("lora", stream=True, **LONG)
        ) as stream:
            lines = (line.removeprefix("data: ") for line in stream.iter_lines() if line)
            for _ in range(5):
                pieces.append(next(lines))
            assert _metric(client, "running") == 1
            process.send_signal(signal.SIGTERM)
            pieces += lines
        assert pieces.pop() == "[DONE]"
        found = [json.loads(piece)["choices"][0]["delta"].get("content", "") for piece in pieces]
        assert "".join(found) == whole["choices"][0]["message"]["content"]
        assert _ended(process) == ""
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


@pytest.mark.parametrize("stream", [True, False])
def test_what_nobody_waits_for_is_not_written(
    tiny_model_folder: Path, server: httpx.Client, stream: bool
) -> None:
    """It is given up long before the time that all of it takes, which is looked at first."""
    body = _body(tiny_model_folder.name, stream=stream, **LONG)
    cancelled = _metric(server, "cancelled_total", 0)
    began = time.monotonic()
    server.post("/v1/chat/completions", json=body).raise_for_status()
    whole, began = time.monotonic() - began, time.monotonic()
    if stream:
        with server.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            server.post("/v1/chat/completions", json=body, timeout=whole / 10)
    while _metric(server, "running"):
        assert time.monotonic() < began + whole / 2, "it is still written"
    assert _metric(server, "cancelled_total") == cancelled + 1


def test_a_key_of_the_environment_is_wanted(server: httpx.Client) -> None:
    assert httpx.get(f"{server.base_url}/v1/models").status_code == 401
    assert server.get("/v1/models").status_code == 200
