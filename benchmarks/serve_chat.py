"""Time to first token of each turn of a chat in `brulee serve`, with and without its cache.

    python benchmarks/serve_chat.py [--chats 4] [--turns 10] [--tokens 24]

Prints JSON and writes it to benchmarks/results/serve-chat.json, or to --out. The bundled model in
fp32, one client. Each chat begins with a system message of some 300 tokens from a different chat of
bundled/support-chats; its questions are lines of that chat. Every turn goes to two servers in
sequence, first to the one with `--cache 0`; their answers must be equal. A first token is the first
piece of text in a stream.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from mixture import machine
from serve import served

from brulee.data.sources import open_source

RESULT = Path(__file__).parent / "results" / "serve-chat.json"
Turn = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=4)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--out", default=str(RESULT))
    asked = parser.parse_args()
    rows = open_source("bundled/support-chats")
    with (
        served({}, 1, ["--cache", "0"]) as plain,
        served({}, 1) as keeping,
        httpx.Client(timeout=600) as client,
    ):
        chat(client, (plain, keeping), str(rows[-1]["dialogue"]), 2, 4)  # warm-up, not counted
        found = [
            chat(client, (plain, keeping), str(rows[i]["dialogue"]), asked.turns, asked.tokens)
            for i in range(asked.chats)
        ]
    result = {
        "what": f"first token of each of {asked.turns} turns, SmolLM2-135M in fp32, one client",
        "command": "python benchmarks/serve_chat.py " + " ".join(sys.argv[1:]),
        "turns": [summary([one[turn] for one in found]) for turn in range(asked.turns)],
        **machine(),
    }
    text = json.dumps(result, indent=2)
    Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def chat(
    client: httpx.Client, urls: tuple[str, str], dialogue: str, turns: int, tokens: int
) -> list[tuple[float, float, int, int]]:
    """Per turn: seconds to the first token from both servers, prompt tokens, cached tokens.

    Raises SystemExit if the servers' answers differ.
    """
    said: list[Turn] = [{"role": "system", "content": f"You answer on this chat.\n\n{dialogue}"}]
    lines = [line for line in dialogue.splitlines() if line.strip()]
    found = []
    for number in range(turns):
        line = lines[number % len(lines)]
        said.append({"role": "user", "content": f"What is meant by this: {line}"})
        (without, text, _), (kept, other, usage) = (ask(client, u, said, tokens) for u in urls)
        if text != other:
            raise SystemExit(f"turn {number + 1}: {text!r}, but {other!r} from what is kept")
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        found.append((without, kept, usage["prompt_tokens"], cached))
        said.append({"role": "assistant", "content": text})
    return found


def ask(
    client: httpx.Client, url: str, messages: list[Turn], tokens: int
) -> tuple[float, str, dict[str, Any]]:
    """Seconds to the first piece of an answer, the answer, and its `usage`."""
    body = {
        "model": "bundled",
        "messages": messages,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, pieces, usage = time.monotonic(), 0.0, list[str](), dict[str, Any]()
    with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            if not event["choices"]:
                usage = event["usage"]
            elif piece := event["choices"][0]["delta"].get("content"):
                first = first or time.monotonic() - began
                pieces.append(piece)
    return first or time.monotonic() - began, "".join(pieces), usage


def summary(found: list[tuple[float, float, int, int]]) -> dict[str, float]:
    """Medians over the chats, and the least and the greatest speed-up."""
    ratios = [without / kept for without, kept, _, _ in found]
    return {
        "prompt_tokens": statistics.median(one[2] for one in found),
        "cached_tokens": statistics.median(one[3] for one in found),
        "seconds_without": round(statistics.median(one[0] for one in found), 3),
        "seconds": round(statistics.median(one[1] for one in found), 3),
        "times": round(statistics.median(ratios), 2),
        "times_least": round(min(ratios), 2),
        "times_most": round(max(ratios), 2),
    }


if __name__ == "__main__":
    main()
