"""A server in this process: a tiny model, some adapters, an application to be asked."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from brulee.inference.adapters import Adapters
from brulee.models.loading import Base, load_base
from brulee.serving.exchange import Serving
from brulee.serving.http import make_app
from brulee.serving.limits import Limits
from brulee.serving.metrics import Metrics
from brulee.serving.store import Store
from brulee.serving.worker import Worker

MakeBase = Callable[..., Base]
_TESTS = Path(__file__).parents[1]
store_adapter = runpy.run_path(str(_TESTS / "inference" / "test_adapters.py"))["_store"]
WAYS = ["lora", "ia3", "prefix", "sparse"]


@pytest.fixture(scope="session")
def adapters(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of adapters on the tiny Llama, called by their methods. Not to be written to."""
    root = tmp_path_factory.mktemp("adapters")
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    for way in [*WAYS, "lora too"]:
        store_adapter(base, way, root / way.replace(" ", "-"))
    return root


@dataclass
class Served:
    """A server and who asks it."""

    client: TestClient
    serving: Serving
    held: Adapters

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/v1/{path}", json=body)

    def chat(self, model: str, text: str, **more: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return self.post("chat/completions", model=model, messages=messages, **more)

    def text(self, model: str, text: str, **more: Any) -> str:
        answer = self.chat(model, text, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])


Serve = Callable[..., Served]


@pytest.fixture
def serve(tiny_model_folder: Path, adapters: Path) -> Iterator[Serve]:
    """`serve("lora", "ia3", key=None, loading=False, root=None, **limits)`: a server with these."""
    with ExitStack() as ending:
        yield _starting(ending, tiny_model_folder, adapters)


@pytest.fixture(scope="module")
def served(tiny_model_folder: Path, adapters: Path) -> Iterator[Serve]:
    """As `serve`, but the same server to all that want it. For those who only ask it."""
    with ExitStack() as ending:
        start, running = _starting(ending, tiny_model_folder, adapters), dict[Any, Served]()

        def find(*names: str, **more: Any) -> Served:
            wanted = names, tuple(sorted(more.items()))
            if wanted not in running:
                running[wanted] = start(*names, **more)
            return running[wanted]

        yield find


def _starting(ending: ExitStack, folder: Path, adapters: Path) -> Serve:
    """Starts servers of a model's folder or another, which stop at the end."""

    def start(
        *names: str,
        key: str | None = None,
        loading: bool = False,
        root: Path | None = None,
        model: str | None = None,
        hosts: tuple[str, ...] | None = None,
        **limits: int,
    ) -> Served:
        held = Adapters(load_base(model or str(folder), torch.float32, torch.device("cpu")))
        own = replace(Limits(), **limits)
        worker = Worker(held, own.room(), own.waiting)
        worker.start()
        ending.callback(worker.stop)
        store = Store(worker, "tiny", own, root or adapters)
        for name in names:
            store.add(name, adapters / name, 1)
        serving = Serving(worker, store, own, Metrics())
        client = TestClient(make_app(serving, key, loading, hosts), raise_server_exceptions=False)
        ending.enter_context(client)
        return Served(client, serving, held)

    return start
