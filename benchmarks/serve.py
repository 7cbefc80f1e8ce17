"""Speed of `brulee serve` for clients that query K adapters over one base.

    python benchmarks/serve.py [--clients 8] [--requests 4] [--tokens 64] [--adapters 0,1,4,16]

Prints JSON and writes it to benchmarks/results/serve.json, or to --out. The bundled model in fp32;
LoRA r8 with random values on all linear layers; each client requests summaries of one chat of
bundled/support-chats after another, from the adapters in rotation, streamed, greedily, over a
socket. One server holds all adapters, and every round measures every K; K = 0 queries the base
alone. A first token is the first piece of text; the text of a stream may lag its tokens by one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from mixed import stored
from mixture import machine

from brulee.data.sources import open_source
from brulee.models.loading import load_base

ROUNDS = 3
RESULT = Path(__file__).parent / "results" / "serve.json"


@dataclass(frozen=True)
class Answered:
    """One request: seconds to its first piece and to its end, and the tokens generated."""

    first: float
    all: float
    tokens: int


def main() -> None:
    asked = arguments()
    counts = [int(part) for part in asked.adapters.split(",")]
    names = [f"adapter{i}" for i in range(max(counts))]
    with tempfile.TemporaryDirectory() as place:
        base = load_base("bundled", torch.float32, torch.device("cpu"))
        folders = {name: stored(base, i, Path(place) / name) for i, name in enumerate(names)}
        del base
        with served(folders, asked.clients) as url:
            measured = rounds(url, counts, names, asked)
    result = {
        "what": f"{asked.clients} clients, {asked.requests} requests each, {asked.tokens} new "
        "tokens at most, for K LoRA r8 over SmolLM2-135M in fp32",
        "command": "python benchmarks/serve.py " + " ".join(sys.argv[1:]),
        "adapters": {str(k): summary(found) for k, found in measured.items()},
        **machine(),
    }
    text = json.dumps(result, indent=2)
    Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--adapters", default="0,1,4,16")
    parser.add_argument("--out", default=str(RESULT))
    return parser.parse_args()


@contextmanager
def served(folders: dict[str, Path], clients: int, more: Sequence[str] = ()) -> Iterator[str]:
    """Run a server in a separate process; yields its URL."""
    pairs = [f"--adapter={name}={folder}" for name, folder in folders.items()]
    options = ["--port", "0", "--json", "--precision", "float32", f"--max-running={clients}"]
    command = [sys.executable, "-m", "brulee", "serve", "bundled", *pairs, *options, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait()


def rounds(
    url: str, counts: Sequence[int], names: Sequence[str], asked: argparse.Namespace
) -> dict[int, list[tuple[float, list[Answered]]]]:
    """Seconds and answers of every round, by K, after an uncounted warm-up round."""
    rows = open_source("bundled/support-chats")
    chats = [f"Summarise this chat.\n\n{rows[i]['dialogue']}" for i in range(len(rows))]
    found: dict[int, list[tuple[float, list[Answered]]]] = {k: [] for k in counts}
    for number in range(ROUNDS + 1):
        for k in counts:
            models = list(names[:k]) or ["bundled"]
            requests = asked.requests if number else 1
            began = time.monotonic()
            answers = asyncio.run(ask_all(url, models, chats, asked.clients, requests, asked))
            if number:
                found[k].append((time.monotonic() - began, answers))
    return found


async def ask_all(
    url: str,
    models: Sequence[str],
    chats: Sequence[str],
    clients: int,
    requests: int,
    asked: argparse.Namespace,
) -> list[Answered]:
    """Send each client's requests one after another, with all clients in parallel."""

    async def client(number: int) -> list[Answered]:
        async with httpx.AsyncClient(base_url=url, timeout=600) as own:
            places = [number + i * clients for i in range(requests)]
            return [
                await ask(own, models[at % len(models)], chats[at % len(chats)], asked.tokens)
                for at in places
            ]

    every = await asyncio.gather(*[client(number) for number in range(clients)])
    return [answer for own in every for answer in own]


async def ask(client: httpx.AsyncClient, model: str, text: str, tokens: int) -> Answered:
    """Request one streamed chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, written = time.monotonic(), 0.0, 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            if not event["choices"]:
                written = event["usage"]["completion_tokens"]
            elif event["choices"][0]["delta"].get("content") and not first:
                first = time.monotonic() - began
    return Answered(first, time.monotonic() - began, written)


def summary(found: Sequence[tuple[float, list[Answered]]]) -> dict[str, float]:
    """Tokens per second of the median round; medians and 95th percentiles over all requests."""
    speeds = [sum(one.tokens for one in answers) / seconds for seconds, answers in found]
    every = [one for _, answers in found for one in answers]
    firsts, alls = sorted(one.first for one in every), sorted(one.all for one in every)
    return {
        "tokens_per_second": round(statistics.median(speeds), 2),
        "first_token_seconds": round(statistics.median(firsts), 3),
        "first_token_seconds_p95": round(percentile(firsts, 0.95), 3),
        "answer_seconds": round(statistics.median(alls), 3),
        "answer_seconds_p95": round(percentile(alls, 0.95), 3),
        "requests": len(every),
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
