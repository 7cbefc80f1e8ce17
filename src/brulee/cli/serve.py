"""`brulee serve`: serve many adapters over one base through an OpenAI-compatible HTTP API."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_lines
from brulee.cli.pairs import languages_of, named
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.serving.opening import Opened

_KEY: Final = "BRULEE_API_KEY"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_CALLED: Final = ("localhost", "127.0.0.1", "[::1]")


def serve(
    target: options.Target,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RUN", help="Also serve this adapter (repeatable)."),
    ] = None,
    adapters_root: Annotated[
        Path | None, typer.Option(help="Folder of the adapters that clients may load by name.")
    ] = None,
    allow_loading: Annotated[
        bool, typer.Option("--allow-loading", help="Let clients load and unload adapters.")
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"A file with the key that clients must send [or: {_KEY}]."),
    ] = None,
    max_running: Annotated[
        int, typer.Option(min=1, help="Answers generated at the same time.")
    ] = 16,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="Answers that may wait; more are refused (429).")
    ] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens of one answer.")] = 1024,
    max_cache_tokens: Annotated[
        int, typer.Option(min=64, help="Tokens of prompts and answers held at once.")
    ] = 32_768,
    cache: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="MB",
            help="Megabytes of prefix cache; 0 turns it off [default: a quarter of the free "
            "memory, at most 4096].",
        ),
    ] = None,
    max_adapters: Annotated[int, typer.Option(min=1, help="Adapters served at once.")] = 64,
    max_adapter_mb: Annotated[
        int, typer.Option(min=1, help="Maximum megabytes of one adapter.")
    ] = 512,
    max_rank: Annotated[int, typer.Option(min=1, help="Maximum rank of one adapter.")] = 256,
    drain_seconds: Annotated[
        int, typer.Option(min=0, help="How long running answers may take after a stop.")
    ] = 60,
    base: options.AdapterBase = None,
    languages: options.Languages = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Serve adapters over an OpenAI-compatible HTTP API.

    A request's `model` names an adapter, or the base. SIGTERM or Ctrl-C stops the server after the
    running answers.
    """
    adapters = named(adapter or [])
    between = languages_of(languages)
    key = _key(api_key_file)
    root = _root(adapters_root, allow_loading)
    _check_installed()
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.serving.exchange import Serving
        from brulee.serving.http import make_app
        from brulee.serving.limits import Limits, kept_bytes
        from brulee.serving.metrics import Metrics
        from brulee.serving.opening import open_served
        from brulee.serving.running import Server, bind, url_of
        from brulee.serving.store import Store, check_name
        from brulee.serving.worker import Worker

    limits = Limits(
        rows=max_running,
        waiting=max_waiting,
        tokens=max_tokens,
        cache_tokens=max_cache_tokens,
        adapters=max_adapters,
        adapter_bytes=max_adapter_mb * 2**20,
        rank=max_rank,
    )
    with bind(host, port) as bound:  # before the model is loaded, so a taken port fails at once
        opened = open_served(target, adapters, device, precision, base, between)
        where = opened.held.engine.engines[None].device
        limits = replace(limits, kept_bytes=kept_bytes(cache, where))
        for name in opened.adapters:
            check_name(name, opened.base)
        server = Server(drain_seconds)
        worker = Worker(opened.held, limits.room(), limits.waiting, server.end)
        worker.start()
        try:
            store = Store(worker, opened.base, limits, root)
            for name, folder in opened.adapters.items():
                store.add(name, folder, int(time.time()))
            hosts = _CALLED if key is None and host in _LOOPBACK else None
            app = make_app(Serving(worker, store, limits, Metrics()), key, allow_loading, hosts)
            _warn(host, key)
            server.run(app, bound, lambda: _tell(url_of(bound), opened, as_json))
        finally:
            worker.stop()


def _tell(url: str, opened: Opened, as_json: bool) -> None:
    names = [opened.base, *opened.adapters]
    if as_json:
        print_lines([{"url": url, "models": names}])
    else:
        print(f"serving {', '.join(names)} on {url}")
    sys.stdout.flush()


def _warn(host: str, key: str | None) -> None:
    if key is None and host not in _LOOPBACK:
        typer.echo(
            f"warning: anyone who can reach {host} can send requests; set a key with "
            f"--api-key-file or {_KEY}.",
            err=True,
        )


def _key(file: Path | None) -> str | None:
    """The API key from a file or the environment; None if neither gives one."""
    if file is None:
        key, place = os.environ.get(_KEY), _KEY
        if key is None:
            return None
    else:
        place = str(file)
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise InputError(f"--api-key-file {file}: cannot be read: {reason}.") from None
    if not re.fullmatch(r"[!-~]{8,}", key):
        raise InputError(
            f"{place}: a key must be 8 or more ASCII letters, digits and signs, without spaces."
        )
    return key


def _root(root: Path | None, allowed: bool) -> Path | None:
    if allowed and root is None:
        raise InputError("--allow-loading needs --adapters-root DIR, the folder of the adapters.")
    if root is not None and not allowed:
        raise InputError(
            "--adapters-root needs --allow-loading, which lets clients load adapters from there; "
            "without it, name each adapter with --adapter NAME=RUN."
        )
    if root is not None and not root.is_dir():
        raise InputError(f"--adapters-root {root}: no such folder.")
    return root


def _check_installed() -> None:
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"brulee serve needs {package}; install it: pip install 'brulee[serve]'."
            )
