"""Requests that nobody means: each is answered or refused in a sentence, none is a fault."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Serve = Callable[..., Any]
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e308, 1e-300, math.inf, math.nan, 10**30, "", "a", "\u202e",
    "{{x}}", "<|im_end|>", [], {}, [[]], [None], {"a": None}, [{}], {"type": "text"}, "x" * 5000,
    "assistant", "system", "tool",
]  # fmt: skip
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "d", "name": "f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "max_tokens": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "min_p": 0.01,
    "repetition_penalty": 1.1,
    "seed": 3,
    "n": 2,
    "stop": ["z"],
    "stream": False,
    "stream_options": {"include_usage": True},
    "logit_bias": {"5": 1, "70": -2.5},
    "logprobs": True,
    "top_logprobs": 2,
}
TEXT: dict[str, Any] = {
    "model": "lora", "prompt": ["a", "b"], "max_tokens": 2, "echo": True, "logprobs": 2,
}  # fmt: skip
IDS: dict[str, Any] = {"model": "tiny", "prompt": [[7, 8], [9]], "max_tokens": 0, "echo": True}
ASKED = [("chat/completions", CHAT), ("completions", TEXT), ("completions", IDS)]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with every key of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def test_no_request_is_a_fault_of_the_server(
    serve: Serve, make_base: Any, make_tool_tokenizer: Any, tmp_path: Path
) -> None:
    make_base("llama", vocab_size=320).model.save_pretrained(tmp_path)
    make_tool_tokenizer("hermes").save_pretrained(tmp_path)
    server, draw = serve(model=str(tmp_path)), random.Random(0)
    statuses: dict[int, int] = {}
    for _ in range(250):
        path, body = copy.deepcopy(draw.choice(ASKED))
        for _ in range(draw.choice([1, 1, 2])):
            places = _places(body)
            if places:
                holder, key = draw.choice(places)
                holder[key] = draw.choice(ODD)
        # As JSON of Python's, which may hold Infinity and NaN.
        answer = server.client.post(
            f"/v1/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 400, 404), (body, answer.text)
        if answer.status_code != 200:
            assert answer.json()["error"]["message"].strip(), body
    assert min(statuses[200], statuses[400], statuses[404]) > 5
    assert server.serving.worker.waiting == server.serving.worker.running == 0
