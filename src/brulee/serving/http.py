"""The HTTP application: paths and statuses of OpenAI's API, and of vLLM's for adapters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from brulee.serving.chats import called, held_calls, read_messages, read_tool_list
from brulee.serving.exchange import Exchange, GoneError, Question, Serving
from brulee.serving.failures import ENDED, ApiError, error_body
from brulee.serving.guard import Guard
from brulee.serving.response_format import read_response_format
from brulee.serving.schema import (
    ChatRequest,
    LoadRequest,
    TextRequest,
    UnloadRequest,
    check,
    read_body,
)
from brulee.serving.shapes import event, model_list
from brulee.serving.worker import DeadError

Handler = Callable[[Request], Awaitable[Response]]


def make_app(
    serving: Serving,
    key: str | None = None,
    loading: bool = False,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The application; `key` and `hosts` as in `Guard`, `loading` lets clients load adapters."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    gets: dict[str, Handler] = {
        "/health": partial(_health, serving),
        "/metrics": partial(_metrics, serving),
        "/v1/models": partial(_models, serving, int(time.time())),
        "/v1/models/{model}": partial(_model, serving, int(time.time())),
    }
    posts: dict[str, Handler] = {
        "/v1/chat/completions": partial(_chat, serving),
        "/v1/completions": partial(_text, serving),
    }
    if loading:
        posts["/v1/load_lora_adapter"] = partial(_load, serving)
        posts["/v1/unload_lora_adapter"] = partial(_unload, serving)
    for path, handler in gets.items():
        app.router.add_route(path, handler, methods=["GET"])
    for path, handler in posts.items():
        app.router.add_route(path, handler, methods=["POST"])
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(HTTPException, partial(_no_such, sorted({*gets, *posts})))
    app.add_exception_handler(Exception, _broken)
    paths = frozenset({*gets, *posts})
    app.add_middleware(Guard, key=key, metrics=serving.metrics, paths=paths, hosts=hosts)
    return app


class EventStream(Response):
    """A response of an exchange's server-sent events; closes the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come, until the last one or until the client disconnects."""
        del scope, receive
        headers = [h for h in self.raw_headers if h[0] != b"content-length"]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for chunk in self._exchange.chunks():
                if chunk:
                    part = {"type": "http.response.body", "body": chunk, "more_body": True}
                    await send(part)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (GoneError, OSError):
            return  # the client has disconnected
        except asyncio.CancelledError:  # the server is shutting down
            told = event(error_body(503, ENDED))
            await send({"type": "http.response.body", "body": told, "more_body": False})
        finally:
            self._exchange.close()


async def _chat(serving: Serving, request: Request) -> Response:
    asked = check(ChatRequest, await _body(serving, request))
    shown, due = asked.tools_shown(), asked.tool_due()
    one = asked.parallel_tool_calls is False
    messages, tools = read_messages(asked.messages), read_tool_list(shown)
    held = serving.worker.held
    variables = asked.chat_template_kwargs
    encode = partial(held.encode_chat, messages=messages, tools=tools, variables=variables)
    # Assistant messages do not count: a template may drop their reasoning.
    texts = [message["content"] for message in messages if message["role"] != "assistant"]
    in_json = read_response_format(asked.response_format) is not None
    held_to = held_calls(shown, due, one or bool(due), in_json)
    question = Question(texts, encode, None, called(shown), one, held_to, variables)
    exchange = Exchange(serving, asked, [question], "chat")
    return await _answered(exchange, request, asked.stream)


async def _text(serving: Serving, request: Request) -> Response:
    asked = check(TextRequest, await _body(serving, request))
    held = serving.worker.held
    questions = [
        Question([given], partial(held.encode_text, text=given), given)
        if isinstance(given, str)
        else Question((), partial(held.encode_ids, ids=given, place=place))
        for place, given in asked.prompts().items()
    ]
    return await _answered(Exchange(serving, asked, questions, "text"), request, asked.stream)


async def _answered(exchange: Exchange, request: Request, stream: bool | None) -> Response:
    streaming = False
    try:
        await exchange.begin(request.receive)
        if stream:
            streaming = True
            return EventStream(exchange)
        return JSONResponse(await exchange.whole())
    except GoneError as error:
        return await _gone(request, error)
    finally:
        if not streaming:
            exchange.close()


async def _models(serving: Serving, created: int, _request: Request) -> Response:
    return JSONResponse(_listed(serving, created))


async def _model(serving: Serving, created: int, request: Request) -> Response:
    asked = request.path_params["model"]
    with serving.store.pinned(asked) as version:
        name = serving.store.base if version is None else version.name
    found = _listed(serving, created)["data"]
    return JSONResponse(next(one for one in found if one["id"] == name))


def _listed(serving: Serving, created: int) -> Any:
    store = serving.store
    context = serving.worker.held.engine.engines[None].context
    return model_list(store.base, created, store.versions, context)


async def _load(serving: Serving, request: Request) -> Response:
    asked = check(LoadRequest, await _body(serving, request))
    path = asked.lora_path or asked.lora_name
    load = partial(serving.store.load, asked.lora_name, path, int(time.time()))
    version = await _computed(partial(load, asked.load_inplace))
    return PlainTextResponse(f"Success: adapter {asked.lora_name!r} is {version.key}.\n")


async def _unload(serving: Serving, request: Request) -> Response:
    asked = check(UnloadRequest, await _body(serving, request))
    await _computed(partial(serving.store.remove, asked.lora_name))
    return PlainTextResponse(f"Success: adapter {asked.lora_name!r} is unloaded.\n")


async def _computed(work: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(work)
    except DeadError as error:
        raise ApiError(503, f"{error}.") from None


async def _health(serving: Serving, _request: Request) -> Response:
    alive = serving.worker.alive
    return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)


async def _metrics(serving: Serving, _request: Request) -> Response:
    worker = serving.worker
    now = {
        "running": worker.running,
        "waiting": worker.waiting,
        "cache_tokens": worker.cache_tokens,
        "kept_tokens": worker.kept_tokens,
        "adapters": len(serving.store.versions),
    }
    text = serving.metrics.text(now)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def _body(serving: Serving, request: Request) -> dict[str, Any]:
    """The JSON of a request.

    Other content types are refused: a web page could make a browser send them to this machine.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send the header Content-Type: application/json.", None)
    found, most = bytearray(), serving.limits.body_bytes
    async for part in request.stream():
        found += part
        if len(found) > most:
            raise ApiError(413, f"the body is longer than the {most} bytes that are read.")
    return read_body(bytes(found))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return JSONResponse(error.body(), error.status, headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nginx's status for it; nobody reads it


async def _no_such(paths: list[str], request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = f"{request.method} {request.url.path}: {error.detail}. Paths: {', '.join(paths)}."
    return JSONResponse(error_body(error.status_code, told), error.status_code, error.headers)


async def _broken(_request: Request, _error: Exception) -> Response:
    told = "this is a fault of the server's; its log has the traceback."
    return JSONResponse(error_body(500, told), 500)
