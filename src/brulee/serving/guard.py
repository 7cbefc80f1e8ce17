"""Middleware for every request: checks of the key and the host name, and counting."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from brulee.serving.failures import ENDED, error_body
from brulee.serving.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """An ASGI middleware that requires `key` on all paths, including unknown ones.

    The Host header must be one of `hosts`, if given: this stops DNS rebinding, in which a web
    page's name is made to resolve to this machine. `paths` are counted by name, all others as one.
    Every response has an x-request-id.
    """

    def __init__(
        self,
        app: ASGIApp,
        key: str | None,
        metrics: Metrics,
        paths: Collection[str],
        hosts: Collection[str] | None = None,
    ) -> None:
        self._app, self._metrics, self._paths, self._hosts = app, metrics, paths, hosts
        self._key = None if key is None else _hashed(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 401 or 403, or let the application respond; 503 if the server stops first."""
        if scope["type"] != "http":  # no route accepts anything else
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"

        begun, number = False, uuid.uuid4().hex.encode()

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                status = str(message["status"])
                self._metrics.count("requests_total", path=path, status=status)
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", number)]
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, receive, counted)
        except asyncio.CancelledError:  # the server is shutting down
            if begun:
                raise
            await JSONResponse(error_body(503, ENDED), 503)(scope, receive, counted)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._key is not None and not hmac.compare_digest(self._key, _hashed(_given(scope))):
            told = "give the server's key: Authorization: Bearer KEY."
            headers = {"WWW-Authenticate": "Bearer"}
            return JSONResponse(error_body(401, told, None, "no_key"), 401, headers)
        host = _header(scope, b"host").decode("latin-1").lower()
        if self._hosts is not None and re.sub(r":\d*$", "", host) not in self._hosts:
            told = (
                f"this server is called {' or '.join(self._hosts)}, not {host!r}; with a key "
                "(--api-key-file) it may be called otherwise."
            )
            return JSONResponse(error_body(403, told, None, "unknown_host"), 403)
        return None


def _hashed(key: bytes) -> bytes:
    """A digest of fixed length, so that comparing does not leak the key's length."""
    return hashlib.sha256(key).digest()


def _given(scope: Scope) -> bytes:
    kind, _, key = _header(scope, b"authorization").partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else b""


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), b"")
