"""Encoder-decoders behind the server: answered together, streamed, each its adapter's own text."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.models.loading import load_base

Serve = Callable[..., Any]
TEXTS = ["The customer asked", "a", "Which of these reviews is the most positive? " * 3]


@pytest.fixture
def pair_adapters(tiny_t5_folder: Path, tmp_path: Path) -> Path:
    """A folder of adapters on the tiny T5."""
    import runpy

    store = runpy.run_path(str(Path(__file__).parents[1] / "inference" / "test_adapters.py"))
    base = load_base(str(tiny_t5_folder), torch.float32, torch.device("cpu"))
    for way in ("lora", "ia3"):
        store["_store"](base, way, tmp_path / way)
    return tmp_path


def test_many_at_once_get_the_texts_generate_gives(
    serve: Serve, tiny_t5_folder: Path, pair_adapters: Path
) -> None:
    server = serve(model=str(tiny_t5_folder), root=pair_adapters, loading=True)
    for name in ("lora", "ia3"):
        assert server.post("load_lora_adapter", lora_name=name).status_code == 200
    base = server.client.get("/v1/models").json()["data"][0]["id"]
    keys = {name.split("@")[0]: name for name in server.held.names}
    asked = [
        (name, text, seed) for name in (base, "lora", "ia3") for text in TEXTS for seed in (0, 1)
    ]
    expected = [
        server.held.complete([text], [keys.get(name)], 12, float(seed), seed=seed, raw=True)[0]
        for name, text, seed in asked
    ]
    assert len(set(expected)) > 6

    def ask(one: tuple[str, str, int]) -> str:
        name, text, seed = one
        more = {"temperature": seed, "seed": seed, "max_tokens": 12, "stream": True}
        answer = server.post("completions", model=name, prompt=text, **more)
        assert answer.status_code == 200, answer.text
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        return "".join(json.loads(event)["choices"][0]["text"] for event in events).strip()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, asked)) == expected
