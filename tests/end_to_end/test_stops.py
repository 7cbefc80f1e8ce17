"""A run that is stopped, by a person or by its disk, keeps what it has and says how to go on."""

import errno
import json
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from brulee.evaluation import answering
from brulee.inference.engine import Engine
from brulee.training import checkpoint
from brulee.training.events import EventLog

BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))
LONG = {"train__epochs": 5, "train__save_every": 4, "train__validate_every": 1000}


@pytest.mark.slow
def test_ctrl_c_in_training_saves_and_its_line_finishes_the_run(
    at: Any, brulee: Any, environment: dict[str, str]
) -> None:
    at.recipe["train"]["epochs"] = 20
    command = [sys.executable, "-m", "brulee", "train", at.write(), "--quiet"]
    done = BAD["interrupt"](command, at, environment, "runs/recipe/events.jsonl")
    assert (done.code, done.out) == (2, "")
    said = re.fullmatch(
        r"error: interrupted after step (\d+) of 80; the state is saved. "
        r"Continue with: brulee (.*)\n",
        done.err,
    )
    assert said, done.err
    saved = checkpoint.newest(at.folder / "runs/recipe/checkpoints")
    assert saved is not None
    assert saved.step == int(said.group(1))
    assert brulee(*shlex.split(said.group(2))).code == 0
    assert steps(at) == list(range(1, 81))
    assert (at.folder / "runs/recipe/adapter/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_training_saves_and_the_line_that_is_said_finishes_the_run(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write, before = EventLog.write, signal.getsignal(number)

    def write_then_stop(log: EventLog, event: str, **values: Any) -> None:
        write(log, event, **values)
        if values["step"] == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as stopped:
        stopped.setattr(EventLog, "write", write_then_stop)
        done = brulee("train", at.write(**LONG))
    said = "error: interrupted after step 2 of 20; the state is saved. Continue with: brulee "
    assert done.code == 2
    assert done.errors[0].startswith(said)
    assert signal.getsignal(number) == before
    saved = checkpoint.newest(at.folder / "runs/recipe/checkpoints")
    assert saved is not None
    assert saved.step == 2
    assert brulee(*shlex.split(done.errors[0].removeprefix(said))).code == 0
    assert steps(at) == list(range(1, 21))
    assert (at.folder / "runs/recipe/adapter/adapter_model.safetensors").is_file()


def test_sigterm_in_scoring_keeps_its_answers(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.pipeline.stages.answer_items", terminated)
    done = brulee(*at.run())
    assert done.code == 2
    assert "interrupted; finished work is kept. Continue with: brulee resume" in done.errors[0]


def test_an_interrupt_that_is_swallowed_comes_again(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swallowed: list[bool] = []

    def swallows(*_: Any, **how: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            swallowed.append(True)
        time.sleep(10)

    monkeypatch.setattr("brulee.pipeline.stops.AGAIN", 0.1)
    monkeypatch.setattr("brulee.pipeline.stages.answer_items", swallows)
    done = brulee(*at.run())
    assert (swallowed, done.code) == ([True], 2)
    assert "interrupted; finished work is kept" in done.errors[0]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_an_interrupt_in_scoring_keeps_what_was_answered(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, left = answering.append, [3]

    def append_then_stop(out: Any, answer: Any) -> None:
        append(out, answer)
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as stopped:
        stopped.setattr(answering, "append", append_then_stop)
        done = brulee(*at.run())
    line = "interrupted; finished work is kept. Continue with: brulee resume runs/recipe"
    assert (done.code, done.errors) == (2, [f"error: {line}"])
    answers = at.folder / "runs/recipe/eval/base/rows-test.jsonl"
    kept = answers.read_text().splitlines()
    assert len(kept) == 3
    asked: list[int] = []
    generate = Engine.generate

    def counted(engine: Engine, prompts: Any, *rest: Any, **named: Any) -> Any:
        asked.append(len(prompts))
        return generate(engine, prompts, *rest, **named)

    monkeypatch.setattr(Engine, "generate", counted)
    assert brulee("resume", "runs/recipe").code == 0
    assert asked == [3, 6], "what was answered is asked again"
    assert {*kept} <= {*answers.read_text().splitlines()}


@pytest.mark.slow
def test_stopped_scoring_keeps_its_answers(
    at: Any, brulee: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So much to score that the signal comes in time on a machine with other work to do.
    at.rows([BAD["good_row"](i) for i in range(200)])
    at.recipe["evaluate"] |= {"batch_tokens": 64, "generation": {"max_new_tokens": 120}}
    command = [sys.executable, "-m", "brulee", *at.run(), "--quiet", "--set", "train.max_steps=1"]
    answers = "runs/recipe/eval/base/rows-test.jsonl"
    done = BAD["interrupt"](command, at, environment, answers)
    line = "error: interrupted; finished work is kept. Continue with: brulee resume runs/recipe\n"
    assert (done.code, done.err) == (2, line)
    kept = (at.folder / answers).read_text().splitlines(keepends=True)
    whole = {line for line in kept if line.endswith("\n")}

    def quickly(_: Any, prompts: Any, __: Any, done: Any, *___: Any) -> None:
        assert len(prompts) <= 50, "what was answered is asked again"
        for i in range(len(prompts)):
            done(i, [7])

    monkeypatch.setattr("brulee.inference.engine.Engine.generate", quickly)
    assert brulee("resume", "runs/recipe", "--json").json["run"] == "recipe"
    assert whole
    assert whole <= {*(at.folder / answers).read_text().splitlines(keepends=True)}


def test_interrupt_before_the_run_began_leaves_no_folder(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.pipeline.preparation.load_recipe_base", interrupted)
    done = brulee(*at.run())
    assert (done.code, done.err) == (2, "interrupted\n")
    assert not (at.folder / "runs").exists()


def test_full_disk_keeps_the_last_checkpoint(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def fills_up(tensors: Any, path: Path, **how: Any) -> None:
        if len(written) == 2:
            path.write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        written.append(path)
        save_file(tensors, path, **how)

    save_file = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", fills_up)
    done = brulee("train", at.write(**LONG))
    assert done.code == 2
    assert "weights.safetensors: no space left on device; finished work is kept" in done.err
    saved = checkpoint.newest(at.folder / "runs/recipe/checkpoints")
    assert saved is not None
    assert [p.name for p in saved.folder.parent.iterdir()] == ["step-4"]
    monkeypatch.undo()
    monkeypatch.chdir(at.folder)
    assert brulee("resume", "runs/recipe").code == 0
    assert steps(at) == list(range(1, 21))


def test_disk_that_is_really_full_keeps_the_last_checkpoint(
    at: Any, brulee: Any, small_disk: Path
) -> None:
    recipe = at.write(**LONG | {"train__keep_checkpoints": 100, "train__save_every": 1})
    done = brulee("train", recipe, "--folder", small_disk / "run")
    assert done.code == 2
    assert "no space left on device; finished work is kept." in done.errors[0]
    assert done.errors[0].endswith(f"continue with: brulee resume {small_disk / 'run'}")
    saved = checkpoint.newest(small_disk / "run/checkpoints")
    assert saved is not None
    mount("-o", "remount,size=16m", small_disk)
    assert brulee("resume", small_disk / "run").code == 0
    assert (small_disk / "run/adapter/adapter_model.safetensors").is_file()


def test_disk_full_from_the_start_leaves_no_half_a_run(
    at: Any, brulee: Any, small_disk: Path
) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * 2**20)
    done = brulee("train", at.write(), "--folder", small_disk / "run")
    assert (done.code, len(done.errors)) == (2, 1)
    (small_disk / "ballast").unlink()
    assert brulee("train", at.write(), "--folder", small_disk / "run").code == 0


def test_read_only_disk_is_told_before_the_model_loads(
    at: Any, brulee: Any, small_disk: Path
) -> None:
    mount("-o", "remount,ro", small_disk)
    done = brulee("train", at.write(model="nowhere"), "--folder", small_disk / "run")
    assert (done.code, done.err) == (
        2,
        f"error: {small_disk}: read-only file system; choose a place that you may write: --folder "
        "for a run, BRULEE_CACHE for the bundled model.\n",
    )


def test_folder_that_may_not_be_written_is_told(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.models.disk.tempfile.TemporaryFile", forbidden)
    done = brulee(*at.run())
    assert done.code == 2
    assert "permission denied; choose a place that you may write" in done.errors[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte, where the platform lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", disk):
        pytest.skip("needs Linux and the right to mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def mount(*arguments: object) -> int:
    command = ["mount", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def interrupted(*_: Any, **how: Any) -> None:
    raise KeyboardInterrupt


def terminated(*_: Any, **how: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def forbidden(**_: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "somewhere")


def steps(at: Any) -> list[int]:
    lines = (at.folder / "runs/recipe/events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event["step"] for event in events if event["event"] == "step"]
