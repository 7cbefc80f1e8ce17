"""The record of a run: appended whole, read back, wound back to a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brulee.errors import InputError, StoppedError
from brulee.training.events import EventLog, read_events


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("begin", model="tiny")
    for step in (1, 2, 3):
        log.write("step", step=step, loss=1 / step)
    log.write("validation", step=3, loss=0.5)
    return log


def test_events_come_back_in_order(log: EventLog) -> None:
    events = read_events(log.path)
    assert [e["event"] for e in events] == ["begin", "step", "step", "step", "validation"]
    assert events[2] == {"event": "step", "step": 2, "loss": 0.5}


def test_a_folder_that_was_removed_meanwhile_is_named(tmp_path: Path) -> None:
    (run := tmp_path / "run").mkdir()
    log = EventLog(run / "events.jsonl")
    log.write("begin")
    run.rename(tmp_path / "elsewhere")
    with pytest.raises(StoppedError, match=r"run: the run's folder was removed or renamed while"):
        log.write("step", step=1)


def test_rewinding_drops_what_came_after_the_step(log: EventLog) -> None:
    log.rewind(2)
    assert [e.get("step") for e in read_events(log.path)] == [None, 1, 2]
    log.write("step", step=3)
    assert [e.get("step") for e in read_events(log.path)] == [None, 1, 2, 3]


def test_rewinding_to_the_start_keeps_what_has_no_step(log: EventLog) -> None:
    log.rewind(0)
    assert [e["event"] for e in read_events(log.path)] == ["begin"]


def test_a_last_line_cut_short_is_left_out_and_cleared(log: EventLog) -> None:
    with log.path.open("a") as file:
        file.write('{"event": "step", "st')
    assert len(read_events(log.path)) == 5
    log.rewind(3)
    assert all(json.loads(line) for line in log.path.read_text().splitlines())


@pytest.mark.parametrize("damage", [b'{"event": "step", "st', b"\xff\xfe\x00", b"[1]", b"{}", b""])
def test_a_damaged_line_before_the_end_is_named(log: EventLog, damage: bytes) -> None:
    lines = log.path.read_bytes().splitlines()
    lines[1] = damage
    log.path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InputError, match=r"events\.jsonl, line 2: damaged: .*; delete this line"):
        read_events(log.path)


def test_no_file_means_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == []
    log = EventLog(tmp_path / "none.jsonl")
    log.rewind(0)
    assert read_events(log.path) == []
