"""A server's end: as it was asked, or as a failure."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from brulee.errors import BruleeError, InputError
from brulee.serving.running import Server, bind, url_of


@pytest.fixture(autouse=True)
def signals_stay() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers nothing."""


@pytest.mark.parametrize("before", [True, False])
def test_a_server_whose_thread_ended_fails(before: bool) -> None:
    server = Server(1)

    def begun() -> None:
        if before:
            server.end(False)
        else:
            threading.Timer(0.3, server.end, [False]).start()

    with bind("127.0.0.1", 0) as bound, pytest.raises(BruleeError, match="thread that computes"):
        server.run(nothing, bound, begun)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_it_should(number: signal.Signals) -> None:
    server = Server(1)
    timer = threading.Timer(0.3, signal.raise_signal, [number])
    with bind("127.0.0.1", 0) as bound:
        server.run(nothing, bound, timer.start)


def test_where_it_listens_is_told() -> None:
    with bind("localhost", 0) as bound:
        assert url_of(bound).startswith(("http://127.0.0.1:", "http://[::1]:"))
        port = bound.getsockname()[1]
        bound.listen()
        with pytest.raises(InputError, match=f"--port {port} cannot be listened on"):
            bind("localhost", port)


def test_of_two_that_begin_at_once_the_second_is_told_that_the_port_is_taken() -> None:
    told = pytest.raises(InputError, match="cannot be listened on: Address already in use")
    with bind("127.0.0.1", 0) as first, told:
        bind("127.0.0.1", first.getsockname()[1])
