"""Bars: one at a time, and none where the command line did not ask for them."""

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
