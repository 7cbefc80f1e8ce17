"""Bars: one at a time, and none where the command line did not ask for them."""

import re
import sys

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
