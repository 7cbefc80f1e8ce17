"""Threads with one model, or that load at once, do so one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.models import loading
from brulee.models.turns import turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _in_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_threads_that_share_a_model_write_what_each_writes_alone(
    make_model: Callable[..., PreTrainedModel], name: str
) -> None:
    model = make_model(name)
    prompts = [[5 + i, 20, 30 + i, 41, 50][: 2 + i] for i in range(4)]
    engine = Engine(model, (2,), 0)
    alone = [engine.generate([prompt], Sampling(6)) for prompt in prompts]
    chosen = model.config._attn_implementation
    inside: list[int] = []
    most: list[int] = []

    def enter(*_: Any) -> None:
        inside.append(1)
        time.sleep(0.003)  # long enough for the others to come in, were they let
        most.append(len(inside))

    model.register_forward_pre_hook(enter)
    model.register_forward_hook(lambda *_: inside.pop() and None)
    written: dict[int, list[list[int]]] = {}

    def write(i: int) -> None:
        written[i] = engine.generate([prompts[i]], Sampling(6))

    _in_threads(write, len(prompts))
    assert [written[i] for i in range(len(prompts))] == alone
    assert set(most) == {1}
    assert model.config._attn_implementation == chosen


def test_models_are_loaded_one_at_a_time(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, inside, most = loading._load, [], []

    def slow(*arguments: Any) -> loading.Base:
        inside.append(1)
        time.sleep(0.01)
        most.append(len(inside))
        base = load(*arguments)
        inside.pop()
        return base

    monkeypatch.setattr(loading, "_load", slow)
    kinds = [torch.float32, torch.bfloat16] * 2
    found: dict[int, set[torch.dtype]] = {}

    def one(i: int) -> None:
        base = loading.load_base(str(tiny_model_folder), kinds[i], torch.device("cpu"))
        found[i] = {p.dtype for p in base.model.parameters()}

    _in_threads(one, len(kinds))
    assert [found[i] for i in range(len(kinds))] == [{kind} for kind in kinds]
    assert set(most) == {1}


def test_a_turn_is_taken_again_inside_and_no_model_is_kept_for_it(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    import gc
    import weakref

    model = make_model("llama")
    with turn(model), turn(model):
        pass
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
