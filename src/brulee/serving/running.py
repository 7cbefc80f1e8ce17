"""A server's life: bind a socket, serve, drain."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import uvicorn

from brulee.errors import BruleeError, InputError


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises InputError if that fails.

    It listens at once, since two sockets can be bound to a port until one listens. Clients that
    connect before the server runs wait for it.
    """
    with ExitStack() as closing:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            bound = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(128)
        except (OSError, UnicodeError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"--host {host} --port {port} cannot be listened on: {reason}; choose others."
            ) from None
        closing.pop_all()  # it stays open
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server:
    """Serves until it is stopped by a signal or by `end`."""

    def __init__(self, drain: int) -> None:
        self._drain = drain
        self._server: uvicorn.Server | None = None
        self._failed = False

    def end(self, asked: bool) -> None:
        """Stop once current requests are answered; `asked` is False if this is a failure."""
        self._failed = self._failed or not asked
        if self._server is not None:
            self._server.should_exit = True

    def run(self, app: Any, bound: socket.socket, begun: Callable[[], None]) -> None:
        """Call `begun`, then serve.

        On SIGTERM or Ctrl-C, no more requests are accepted, and current ones are answered within at
        most `drain` seconds; a second Ctrl-C stops at once. Raises BruleeError if the server
        stopped because of a failure.
        """
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=self._drain,
        )
        self._server = uvicorn.Server(config)
        # uvicorn re-raises the signals that stopped it for the handlers set before it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.end(True))
        begun()
        if not self._failed:
            self._server.run(sockets=[bound])
        if self._failed:
            raise BruleeError("the thread that computes has ended; see the traceback above.")
