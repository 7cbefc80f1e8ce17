"""The runbook for a GPU: rows that exist, failures that are kept, a table of what was reached."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def gpu(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("gpu")


def given(**changes: Any) -> argparse.Namespace:
    plain = {"trl": "trl-python", "unsloth": None, "data": None, "models": None, "small": "135m"}
    return argparse.Namespace(
        **{**plain, "device": "cuda", "tiny": False, "minutes": 9.0, **changes}
    )


def test_every_row_is_a_pair_or_the_head(gpu: ModuleType) -> None:
    assert len({row.name for row in gpu.ROWS}) == len(gpu.ROWS)
    own = ("head", "gpu-exact")
    assert {row.pair for row in gpu.ROWS if row.file not in own} <= set(gpu.PAIRS)


def test_rows_run_in_the_order_of_their_worth(gpu: ModuleType) -> None:
    assert [row.name for row in gpu.chosen("head,lora-16")] == ["lora-16", "head"]
    assert gpu.chosen(None) == list(gpu.ROWS)
    with pytest.raises(SystemExit, match="lora-17"):
        gpu.chosen("lora-16,lora-17")


def test_a_row_is_run_with_its_own_peer(gpu: ModuleType, tmp_path: Path) -> None:
    trl, unsloth = gpu.chosen("lora-16,lora-16-unsloth")
    command = gpu.command_of(trl, given(data="chats.jsonl"), tmp_path)
    assert command[2:8] == ["--pairs", "lora-16", "--against", "trl", "--peer", "trl-python"]
    assert command[8:12] == ["--model", "135m", "--data", "chats.jsonl"]
    assert gpu.command_of(unsloth, given(), tmp_path) is None
    assert "lora-16" in gpu.command_of(unsloth, given(unsloth="other"), tmp_path)


def test_only_packed_rows_are_tried_with_random_ids(gpu: ModuleType, tmp_path: Path) -> None:
    packed, plain = gpu.chosen("lora-1b-packed,lora-1b")
    assert "--tokens" in gpu.command_of(packed, given(tiny=True), tmp_path)
    assert "--tokens" not in gpu.command_of(plain, given(tiny=True), tmp_path)


def test_the_end_of_what_a_failing_command_said_is_returned(gpu: ModuleType) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no such kernel')"]
    assert gpu.attempt(command, 60) == ("failed", ["first", "no such kernel"])
    assert gpu.attempt([sys.executable, "-c", ""], 60) == ("ok", [])


def test_what_a_failed_row_said_is_kept_until_that_row_succeeds(
    gpu: ModuleType, tmp_path: Path, monkeypatch
) -> None:
    """Also by a later command that runs other rows."""
    outcomes = {"lora-16": "failed", "head": "ok", "lora-64": "stopped"}
    monkeypatch.setattr(gpu, "command_of", lambda row, *_: [row.name])
    monkeypatch.setattr(gpu, "attempt", lambda command, _: (outcomes[command[0]], ["no kernel"]))
    file = tmp_path / gpu.FAILED
    for only in ("lora-16,head", "lora-64"):
        gpu.run(gpu.chosen(only), given(), tmp_path)
    said = {"outcome": "failed", "command": "lora-16", "said": ["no kernel"]}
    found = json.loads(file.read_text())
    other = {**said, "outcome": "stopped", "command": "lora-64"}
    assert found == {"lora-16": said, "lora-64": other}
    outcomes |= {"lora-16": "ok", "lora-64": "ok"}
    gpu.run(gpu.chosen("lora-16"), given(), tmp_path)
    assert list(json.loads(file.read_text())) == ["lora-64"]
    gpu.run(gpu.chosen("lora-64"), given(), tmp_path)
    assert not file.exists()


def test_an_interrupt_leaves_what_was_kept_before(
    gpu: ModuleType, tmp_path: Path, monkeypatch
) -> None:
    file = tmp_path / gpu.FAILED
    gpu.keep(file, "head", "failed", ["head"], [])

    def half(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[:20].encode(encoding))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        gpu.keep(file, "lora-16", "failed", ["lora-16"], [])
    assert list(json.loads(file.read_text())) == ["head"]


def test_a_row_that_takes_too_long_is_stopped_with_what_it_started(
    gpu: ModuleType, tmp_path: Path
) -> None:
    alive = tmp_path / "alive"
    inner = f"import pathlib, time; time.sleep(2); pathlib.Path({str(alive)!r}).touch()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    assert gpu.attempt([sys.executable, "-c", outer], 1.0)[0] == "stopped"
    time.sleep(1.5)
    assert not alive.exists()


def test_a_row_does_not_outlive_an_interrupt(gpu: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    row = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.getpid()))"
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt):
            gpu.attempt([sys.executable, "-c", f"{row}; time.sleep(9)"], 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_rows_after_a_failing_one_run_and_late_ones_do_not(
    gpu: ModuleType, tmp_path: Path, monkeypatch
) -> None:
    rows = gpu.chosen("lora-16,lora-64,head,lora-16-unsloth")
    outcomes = {"head.py": "ok", "versus_trl.py": "failed"}

    def attempt(command: list[str], _: float) -> tuple[str, list[str]]:
        return outcomes[Path(command[1]).name], []

    monkeypatch.setattr(gpu, "attempt", attempt)
    found = gpu.run(rows, given(), tmp_path)
    assert [found[row.name] for row in rows] == ["failed", "failed", "left out", "ok"]
    late = gpu.run(rows, given(minutes=0.5), tmp_path)
    assert [late[row.name] for row in rows] == ["no time", "no time", "left out", "no time"]


def test_a_row_that_hangs_leaves_a_minute_for_each_row_after_it(
    gpu: ModuleType, tmp_path: Path, monkeypatch
) -> None:
    now, limits = [0.0], list[float]()

    def attempt(_: list[str], seconds: float) -> tuple[str, list[str]]:
        limits.append(seconds)
        now[0] += seconds
        return "stopped", []

    monkeypatch.setattr(gpu, "attempt", attempt)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: now[0]))
    gpu.run(gpu.chosen("lora-16,lora-16-unsloth,lora-64,head"), given(), tmp_path)
    assert limits == [420.0, 60.0, 60.0]  # one is left out


def test_the_table_says_which_rows_fall_short(gpu: ModuleType, tmp_path: Path) -> None:
    rows = gpu.chosen("lora-16,lora-64,head")
    pair = {
        "tokens_per_second": {"brulee": 160_000.0, "trl": 10_000.0},
        "speed_ratio": 16.0,
        "memory_ratio": 0.3,
        "seconds_of_all_steps": {"brulee": 20.0, "trl": 8.0},
    }
    file = tmp_path / "versus-trl-cuda.json"
    file.write_text(json.dumps({"pairs": {"lora-16": pair, "lora-64": pair}}))
    text = gpu.table(rows, {"lora-16": "ok", "lora-64": "ok", "head": "failed"}, tmp_path, "cuda")
    fast, large, head = text.splitlines()[2:]
    assert fast == "| lora-16 | 160,000 | 10,000 | 16.0x | 0.30 | 20 | 8 | 15x | ok |"
    assert large.endswith("| 10x, 0.25 of the memory | short of it |")
    file.write_text(
        json.dumps({"pairs": {}, "unpaired": {"lora-16": {"tokens_per_second": {"brulee": 9e4}}}})
    )
    text = gpu.table(rows[:2], {"lora-16": "failed", "lora-64": "stopped"}, tmp_path, "cuda")
    assert text.splitlines()[2:] == [
        "| lora-16 | 90,000 |  |  |  |  |  | 15x | failed |",
        "| lora-64 |  |  |  |  |  |  | 10x, 0.25 of the memory | stopped |",
    ]
    assert head == "| head |  |  |  |  |  |  | nothing | failed |"


def test_carried_wheels_are_found_by_each_side(gpu: ModuleType, tmp_path: Path) -> None:
    """And no side finds the other's, which may be another version of the same."""
    pytest.importorskip("pip")
    for side in ("all", "trl"):
        _wheel(tmp_path / "wheels" / side, f"carried_{side}")
    before = os.environ.get("PYTHONPATH")
    try:
        found = gpu.install(tmp_path / "wheels", tmp_path / "sites")
        own = subprocess.run([sys.executable, "-c", "import carried_all"], check=False)
        other = subprocess.run([sys.executable, "-c", "import carried_trl"], check=False)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    assert list(found) == ["trl"]
    assert (own.returncode, other.returncode) == (0, 1)
    both = [found["trl"], "-c", "import carried_all, carried_trl"]
    assert subprocess.run(both, check=False).returncode == 0


def _wheel(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
