"""Bars: one at a time, and none where the command line did not ask for them."""

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from brulee import progress


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)


def test_a_bar_inside_another_draws_nothing(
    drawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar("Outer", 2) as outer:
        with progress.bar("Inner", 1) as inner:
            inner.advance()
        outer.advance()
    shown = capsys.readouterr().err
    assert "Outer: 1/2" in shown
    assert "Inner" not in shown
    with progress.bar("Next", 1) as after:
        after.advance()
    assert "Next: 1/1" in capsys.readouterr().err


def test_a_bar_that_failed_lets_the_next_one_draw(
    drawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError), progress.bar("Broken", 1):
        raise RuntimeError
    with progress.bar("Next", 1) as after:
        after.advance()
    assert "Next" in capsys.readouterr().err


def test_nothing_is_drawn_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("Quiet", 1) as quiet:
        quiet.advance()
    progress.note("said")
    assert capsys.readouterr().err == ""


def test_a_bar_of_nothing_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_enabled", True)
    with progress.bar("Measuring validation rows", 0, "rows"):
        pass
    assert capsys.readouterr().err == ""


def test_what_is_rare_has_a_line_in_a_log_and_the_end_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    with progress.bar("Training", 2, "steps") as shown:
        shown.advance(1, loss="1.2")
        assert capsys.readouterr().err == ""
        shown.advance(1, loss="1.1")
        shown.show(validation="0.9")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Training: 2/2 steps  loss 1.1  validation 0.9  ")


@pytest.mark.parametrize("terminal", [False, True])
def test_what_was_done_before_says_nothing_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    drawn: None,
    terminal: bool,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr("brulee.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress.bar("Training", 100, "steps") as bar:
        bar.known(90)
        for _ in range(2):
            clock[0] += 60
            bar.advance()
    shown = capsys.readouterr().err
    assert "92/100" in shown
    assert ("0:08:00" if terminal else "480 s left") in shown


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_cuts_no_number_of_a_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_enabled", True)
    with progress.bar("Training", 1000, "steps") as shown:
        shown.advance(250, loss="1.234", tokens_s="14,039")
        shown.show(validation="0.549")
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "250/1000" in told
    assert "loss 1.234  tokens_s 14,039  validation 0.549" in told


def test_a_terminal_says_how_long_steps_of_a_minute_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_enabled", True)
    with progress.bar("Training", 10) as bar:
        for _ in range(4):
            clock[0] += 60
            bar.advance()
    assert "0:06:00" in capsys.readouterr().err


def test_what_is_waited_for_is_said_on_a_terminal_and_gives_way_to_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.waiting("Loading the model"):
        assert "Loading the model ..." in capsys.readouterr().err
        with progress.waiting("Inside"), progress.bar("Rows", 1) as bar:
            capsys.readouterr()
            bar.advance()
        shown = capsys.readouterr().err
        assert "Rows" in shown
        assert shown.rstrip("\x1b[?25l").rfind("Loading the model") > shown.rfind("Rows")
    assert "Inside" not in shown
    assert progress._waiting is None


def test_a_log_is_not_told_what_is_waited_for(
    drawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.waiting("Loading the model"):
        pass
    assert capsys.readouterr().err == ""


def test_of_several_processes_one_says_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.waiting("Loading the model"):
        pass
    assert capsys.readouterr().err == ""


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook shows below its cell, one text after another."""
    texts: list[str] = []

    def show(data: dict[str, str], raw: bool, **_: Any) -> Any:
        assert raw
        texts.append(data["text/plain"])
        return SimpleNamespace(update=show)

    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    display.display = show  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(progress, "_CELL_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_CELL_KEEPS_SECONDS", 0.0)
    return texts


def test_a_notebook_shows_one_text_that_is_kept_up_to_date(
    cell: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.shown():
        with progress.waiting("Loading"):
            pass
        progress.note("3 rows too long")
        with progress.bar("Training", 2, "steps") as bar:
            bar.advance(loss="1.5")
            bar.advance(loss="1.4")
    assert cell == [
        "Loading ...",
        "3 rows too long",
        "3 rows too long\nTraining: 1/2 steps  loss 1.5  0 s, 0 s left",
        "3 rows too long\nTraining: 2/2 steps  loss 1.4  0 s",
    ]
    assert capsys.readouterr() == ("", "")
    assert not progress.enabled()
    progress.note("unasked")
    assert len(cell) == 4


def test_what_fails_or_is_short_in_a_notebook_leaves_what_was_said(
    cell: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped() -> None:
        with progress.shown(), progress.bar("Training", 9) as bar:
            bar.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert cell[-1].startswith("Training: 3/9")
    monkeypatch.setattr(progress, "_CELL_KEEPS_SECONDS", 60.0)
    with progress.shown():
        with progress.bar("Short", 2) as bar:
            bar.advance()
        progress.note("said")
    assert cell[-1] == "said"


def test_a_notebook_can_be_told_to_show_nothing(cell: list[str]) -> None:
    with progress.shown(False), progress.bar("Training", 1) as bar:
        bar.advance()
        progress.note("said")
    assert cell == []


def test_a_block_shows_where_it_is_asked_to_and_then_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.shown():
        progress.note("unasked")
    with progress.shown(True):
        with progress.shown():
            progress.note("inside")
        progress.note("asked")
    progress.note("after")
    assert capsys.readouterr().err.splitlines() == ["inside", "asked"]
