"""How long streams wait for their next token while other clients send expensive requests.

    python benchmarks/serve_pauses.py [--streams 10] [--rounds 3] [--source SRC]

Prints JSON and writes it to benchmarks/results/serve-pauses.json, or to --out. The bundled model in
fp32, one process on one PyTorch thread, queried over a socket. While --streams clients receive
texts, another client sends a prompt of some 6,000 tokens, one a second later a prompt of some 20,
and one a text of two million characters, which is refused. A pause is the time between two pieces
of a stream. `--source` names the `src` folder of another version of brulee, measured alternately in
the same rounds as `other`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from mixture import machine

import brulee

RESULT = Path(__file__).parent / "results" / "serve-pauses.json"
SENTENCE = "The customer asked where the parcel was, and the agent sent a new one. "
LONG, HUGE = SENTENCE * 380, SENTENCE * 28_000
LIMIT = httpx.Timeout(600.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default="")
    parser.add_argument("--out", default=str(RESULT))
    asked = parser.parse_args()
    sources = {"here": str(Path(brulee.__file__).parents[1])}
    if asked.source:
        sources["other"] = asked.source
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
    for number in range(asked.rounds):
        for name, source in sources.items():
            with served(source) as url:
                found[name].append(asyncio.run(measured(url, asked.streams, number)))
            print(name, found[name][-1], file=sys.stderr)
    result = {
        "what": f"seconds, of {asked.streams} streams of SmolLM2-135M in fp32, and of who comes",
        "command": f"python benchmarks/serve_pauses.py --streams {asked.streams} --rounds "
        f"{asked.rounds}" + (" --source SRC" if asked.source else ""),
        **{name: summary(rounds) for name, rounds in found.items()},
        **machine(),
    }
    text = json.dumps(result, indent=2)
    Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


@contextmanager
def served(source: str) -> Iterator[str]:
    """Run a server in a separate process; yields its URL."""
    options = ["--port", "0", "--json", "--precision", "float32", "--cache", "0"]
    command = [sys.executable, "-m", "brulee", "serve", "bundled", *options]
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait()


async def measured(url: str, streams: int, seed: int) -> dict[str, float]:
    """The longest pauses of any stream, and the response times of the other clients."""
    heard: list[list[float]] = [[] for _ in range(streams)]
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as client:
        writing = [
            asyncio.create_task(write(client, heard[i], 100 * seed + i)) for i in range(streams)
        ]
        while min(map(len, heard)) < 10:
            await asyncio.sleep(0.05)
        found = {"usual_pause": longest(heard, await timed(asyncio.sleep(5)))}
        long = asyncio.create_task(timed(write(client, [], 1, LONG, 1)))
        await asyncio.sleep(1)
        short = await timed(write(client, [], 1, SENTENCE, 1))
        whole = await long
        found["pause_beside_a_long_prompt"] = longest(heard, whole)
        found["short_prompt_answered"] = short[1] - short[0]
        found["long_prompt_answered"] = whole[1] - whole[0]
        await asyncio.sleep(5)
        huge = await timed(client.post("/v1/completions", json=body(1, HUGE, 1)))
        await asyncio.sleep(1)
        found["pause_beside_a_text_too_long"] = longest(heard, huge)
        found["text_too_long_refused"] = huge[1] - huge[0]
        for task in writing:
            task.cancel()
    return {key: round(value, 3) for key, value in found.items()}


def body(seed: int, prompt: str, most: int) -> dict[str, Any]:
    """The JSON of a completion request."""
    drawn = {"temperature": 1.0, "seed": seed, "user": f"client {seed}"}
    return {"model": "bundled", "prompt": prompt, "max_tokens": most, **drawn}


async def write(
    client: httpx.AsyncClient, heard: list[float], seed: int, prompt: str = "Once", most: int = 1000
) -> None:
    """Stream a completion, repeatedly unless `most` is 1; adds each line's time to `heard`."""
    while True:
        asked = {**body(seed, prompt, most), "stream": True}
        async with client.stream("POST", "/v1/completions", json=asked) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line:
                    heard.append(time.monotonic())
        if most == 1:
            return
        seed += 1000


async def timed(work: Any) -> tuple[float, float]:
    """The times at which `work` began and ended."""
    began = time.monotonic()
    await work
    return began, time.monotonic()


def longest(heard: list[list[float]], between: tuple[float, float]) -> float:
    """The longest pause of any stream that overlaps with an interval."""
    begin, end = between
    return max(b - a for own in heard for a, b in itertools.pairwise(own) if b > begin and a < end)


def summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, minimum and maximum of every measure."""
    found = {key: [one[key] for one in rounds] for key in rounds[0]}
    return {
        key: {"median": statistics.median(own), "least": min(own), "most": max(own)}
        for key, own in found.items()
    }


if __name__ == "__main__":
    main()
