"""What every request passes first: the key, if there is one, and the count of answers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from brulee.serving.failures import error_body
from brulee.serving.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """An ASGI application round another: `key` is wanted on all paths, also those that are none.

    `paths` are counted by their names, all others as one.
    """

    def __init__(
        self, app: ASGIApp, key: str | None, metrics: Metrics, paths: Collection[str]
    ) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths
        self._key = None if key is None else _hashed(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or let the application answer."""
        if scope["type"] != "http":  # there are no paths for anything else
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = str(message["status"])
                self._metrics.count("requests_total", path=path, status=status)
            await send(message)

        if self._key is None or hmac.compare_digest(self._key, _hashed(_given(scope))):
            await self._app(scope, receive, counted)
            return
        body = error_body(401, "give the server's key: Authorization: Bearer KEY.", None, "no_key")
        refused = JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
        await refused(scope, receive, counted)


def _hashed(key: bytes) -> bytes:
    """Of one length, so that a comparison tells nothing of how long the key is."""
    return hashlib.sha256(key).digest()


def _given(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, key = bytes(value).partition(b" ")
            return key.strip() if kind.lower() == b"bearer" else b""
    return b""
