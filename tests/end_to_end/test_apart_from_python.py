"""What surrounds a call from Python changes none of its numbers, and is as it was after it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brulee
from brulee import progress
from brulee.training.trainer import Trainer

Values = Callable[..., dict[str, Any]]
ASKED = ["What was late?"]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture
def values(at: Any) -> Values:
    def make(name: str) -> dict[str, Any]:
        method = {"name": "lora", "rank": 2, "dropout": 0.3}
        return {**at.recipe, "method": method, "name": name}

    return make


def _made(run: brulee.Run) -> dict[str, Any]:
    """What a run leaves that is no clock."""
    found: dict[str, Any] = {
        file.name: file.read_bytes() for file in run.weights.glob("*.safetensors")
    }
    found["answers"] = [run.answers(who) for who in ("base", "tuned")]
    found["scores"] = run.scores
    found["losses"] = [e["loss"] for e in run.events if e["event"] in ("step", "validation")]
    return found


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {}


@pytest.fixture
def plain(values: Values, made: dict[str, Any]) -> dict[str, Any]:
    """What a run leaves that nothing surrounds, and under "written" what it then writes."""
    if not made:
        run = brulee.run(values("plain"))
        written = brulee.load(run, precision="float32").complete(ASKED, max_new_tokens=8)
        made |= {**_made(run), "written": written}
    return dict(made)


def _gradients_off() -> Iterator[None]:
    with torch.no_grad():
        yield


def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _autocast() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


def _device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device("cpu")


def _drawn() -> Iterator[None]:
    torch.manual_seed(99)
    torch.rand(7)
    yield


@pytest.mark.parametrize(
    "around", [_gradients_off, _inference, _float64, _autocast, _device, _drawn]
)
def test_what_the_caller_set_in_torch_changes_no_number(
    around: Callable[[], Iterator[None]], values: Values, plain: dict[str, Any]
) -> None:
    written = plain.pop("written")
    state = around()
    next(state)
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device())
    try:
        found = brulee.run(values("other"))
        after = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device())
        session = brulee.load(found, precision="float32")
        again = session.complete(ASKED, max_new_tokens=8)
    finally:
        next(state, None)
    assert after == before
    assert _made(found) == plain
    assert again == written


@pytest.mark.slow
def test_a_second_run_and_another_process_give_the_same_bits(
    values: Values, plain: dict[str, Any], environment: dict[str, str]
) -> None:
    del plain["written"]
    assert _made(brulee.run(values("second"))) == plain
    script = "import brulee, json, sys; brulee.run(json.loads(sys.argv[1]))"
    command = [sys.executable, "-c", script, json.dumps(values("third"))]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert _made(brulee.Run(Path("runs/third"))) == plain


def test_random_numbers_warnings_and_logging_are_as_they_were(values: Values) -> None:
    def state() -> list[Any]:
        return [
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index, call-overload, union-attr]
            torch.get_rng_state().tolist(),
            list(warnings.filters),
            logging.getLogger().level,
            list(logging.getLogger().handlers),
            logging.getLogger("transformers").level,
            progress.enabled(),
            dict(os.environ),
            Path.cwd(),
        ]

    brulee.run(values("imports"))  # which import what sets its own
    before = state()
    brulee.run(values("again"))
    assert state() == before


def test_nothing_is_printed_unasked_and_bars_and_notes_are_where_asked(
    values: Values, capfd: pytest.CaptureFixture[str]
) -> None:
    brulee.run(values("quiet"))
    assert capfd.readouterr() == ("", "")
    brulee.run({**values("shown"), "train": {**values("")["train"], "max_steps": 99}}, show=True)
    told = capfd.readouterr()
    assert told.out == ""
    assert "train.max_steps = 99 is not reached" in told.err
    assert not progress.enabled()


def test_a_run_inside_an_event_loop(values: Values, plain: dict[str, Any]) -> None:
    del plain["written"]

    async def cell() -> brulee.Run:
        await asyncio.sleep(0)
        return brulee.run(values("loop"))

    assert _made(asyncio.run(cell())) == plain


def test_runs_of_several_threads_take_turns_and_give_the_same_bits(
    values: Values, plain: dict[str, Any]
) -> None:
    del plain["written"]
    names = ("one", "two", "three")
    found: dict[str, dict[str, Any]] = {}

    def work(name: str) -> None:
        found[name] = _made(brulee.run(values(name)))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(names, plain)


def test_a_failed_call_lets_the_next_thread_in(values: Values) -> None:
    with pytest.raises(brulee.InputError):
        brulee.run({"data": {}})
    thread = threading.Thread(target=brulee.train, args=(values("after"),))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_an_interrupt_leaves_a_run_that_the_same_call_finishes(
    values: Values, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del plain["written"]
    step = Trainer._one_step

    def interrupted(trainer: Trainer, *bar: Any) -> bool:
        if trainer.step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(trainer, *bar)

    monkeypatch.setattr(Trainer, "_one_step", interrupted)
    with pytest.raises(brulee.StoppedError, match="interrupted after step 2") as stopped:
        brulee.run(values("stopped"))
    assert stopped.value.__notes__ == ["In Python brulee resume is brulee.resume(PATH)."]
    assert issubclass(brulee.StoppedError, Exception)
    monkeypatch.setattr(Trainer, "_one_step", step)
    assert _made(brulee.run(values("stopped"))) == plain
