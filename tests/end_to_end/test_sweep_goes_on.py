"""A sweep that is interrupted, killed, or shared by several processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brulee.training.trainer import Trainer

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")

AXIS = ("--set", "train.learning_rate=1e-3,3e-3,1e-2,3e-2")
# The command line without the forecast, which takes longer than these trainings. A step takes as
# long as the variable PAUSE says, in seconds: time for the moment that a test waits for.
CALL = """import os, sys, time
from brulee.pipeline import sweeps
from brulee.training.trainer import Trainer
sweeps.tell_forecast = lambda _: None
one_step = Trainer._one_step
def paused(*given):
    time.sleep(float(os.environ.get("PAUSE", 0)))
    return one_step(*given)
Trainer._one_step = paused
from brulee.cli.main import main
sys.argv[0] = "brulee"
main()"""


def started(environment: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALL, "sweep", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_it_trains(process: subprocess.Popen[str], run: Path, steps: int) -> None:
    for _ in range(1200):
        assert process.poll() is None, process.communicate()[1]
        file = run / "events.jsonl"
        if file.is_file() and file.read_text().count('"event": "step"') >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} was not begun")


def values(sweep: Path) -> list[Any]:
    found = json.loads((sweep / "sweep.json").read_text())
    return [(t["number"], t["settings"], t["state"], t["values"]) for t in found["trials"]]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_sweep_ends_as_one_that_was_not(
    at: Any, brulee: Any, environment: dict[str, str], monkeypatch: Any, how: signal.Signals
) -> None:
    monkeypatch.setattr("brulee.pipeline.sweeps.tell_forecast", lambda _: None)
    recipe = at.write(train__epochs=3, train__save_every=5)
    axis = ("--set", "train.learning_rate=1e-3,3e-3")
    whole = brulee("sweep", recipe, *axis, "--folder", "whole")
    assert whole.code == 0, whole.err
    process = started({**environment, "PAUSE": "0.1"}, recipe, *axis, "--folder", "cut")
    until_it_trains(process, at.folder / "cut/trial-001", 7)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 2
        (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert error.startswith("error: interrupted after step ")
        assert error.endswith("Run the same command again to continue.")
        assert "brulee resume" not in error
    first = at.folder / "cut/trial-000/events.jsonl"
    before = first.stat().st_mtime_ns
    steps: list[int] = []
    one_step = Trainer._one_step

    def counted(trainer: Trainer, *given: Any) -> bool:
        steps.append(1)
        return one_step(trainer, *given)

    monkeypatch.setattr(Trainer, "_one_step", counted)
    again = brulee("sweep", recipe, *axis, "--folder", "cut")
    assert again.code == 0, again.err
    assert 0 < len(steps) <= 12 - 5, "it began anew"
    assert "trial-000 of" not in again.err
    assert first.stat().st_mtime_ns == before, "a finished trial was run again"
    assert values(at.folder / "cut") == values(at.folder / "whole")


@pytest.mark.slow
def test_a_sweep_that_is_asked_to_end_between_trainings_says_so(
    at: Any, brulee: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("brulee.pipeline.sweeps.tell_forecast", lambda _: None)
    # Without a handler, the signal would end the tests.
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM is not handled"))
    try:
        monkeypatch.setattr("brulee.pipeline.sweeps.try_out", lambda *_: _terminate())
        done = brulee("sweep", at.write(), *AXIS, "--folder", "cut")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("error: interrupted; finished trials are kept,")


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


@pytest.mark.slow
def test_two_processes_share_the_trials(at: Any, environment: dict[str, str]) -> None:
    axis = ("--set", "train.learning_rate=1e-3,2e-3,3e-3,5e-3,1e-2,2e-2,3e-2,5e-2")
    recipe = at.write(train__epochs=15)
    both = [started(environment, recipe, *axis, "--json") for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    trained = [re.findall(r"^trial-(\d+) of 8", err, re.MULTILINE) for _, err in ends]
    assert sorted(trained[0] + trained[1]) == [f"{i:03d}" for i in range(8)]
    assert all(trained), "one did all of it"
    first, second = (json.loads(out) for out, _ in ends)
    assert first["trials"] == second["trials"]
    assert first["chosen"] == second["chosen"]
    tested = {run.parent.name for run in (at.folder / "runs/recipe-sweep").glob("*/results.json")}
    assert len(tested) == 2


@pytest.mark.slow
def test_a_sweep_at_work_is_not_moved_aside(at: Any, environment: dict[str, str]) -> None:
    recipe = at.write(train__epochs=60)
    process = started(environment, recipe, *AXIS)
    try:
        until_it_trains(process, at.folder / "runs/recipe-sweep/trial-000", 2)
        other = started(environment, recipe, *AXIS, "--fresh")
        _, err = other.communicate(timeout=120)
        assert other.returncode == 2
        assert "another process is working on this sweep" in err
    finally:
        process.kill()
        process.communicate()
    assert os.path.isdir(at.folder / "runs/recipe-sweep/trial-000")  # noqa: PTH112


def test_a_shared_storage_hands_out_the_trials(at: Any, brulee: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("brulee.pipeline.sweeps.tell_forecast", lambda _: None)
    recipe = at.write(train__max_steps=2)
    place = ("--storage", "sqlite:///shared.db", "--folder", "one/sweep")
    assert brulee("sweep", recipe, *AXIS, *place, "--trials", 1).code == 0
    # As if on another machine, where the folder is not, and on another day.
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    for module in ("folder", "sweeps.study"):
        monkeypatch.setattr(f"brulee.pipeline.{module}.date", _LeapDay)
    place = ("--storage", "sqlite:///shared.db", "--folder", "two/sweep")
    done = brulee("sweep", recipe, *AXIS, *place)
    assert done.code == 0, done.err
    found = json.loads((at.folder / "two/sweep/sweep.json").read_text())
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 4
    assert all(trial["curve"] for trial in found["trials"]), "what another machine did is lost"
    assert not (at.folder / "two/sweep/trial-000").exists()
    days = {json.loads(m.read_text())["day"] for m in at.folder.glob("*/sweep/*/manifest.json")}
    assert len(days) == 1, "the trials train on texts of different days"


class _LeapDay(date):
    @classmethod
    def today(cls) -> _LeapDay:
        return cls(2024, 2, 29)
