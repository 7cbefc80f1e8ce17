"""Signals are taken over for a stretch of work, and given back."""

from __future__ import annotations

import signal

import pytest

from brulee.training.signals import handling_signals


def test_a_signal_is_answered_inside_and_given_back() -> None:
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with handling_signals(lambda number, _: seen.append(number), signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it was replaced"))
    with handling_signals(lambda *_: None, signal.SIGTERM):
        pass
