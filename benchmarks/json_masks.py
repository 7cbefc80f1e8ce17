"""The cost of constraining answers to a JSON Schema, per token and against unconstrained answers.

    python benchmarks/json_masks.py [--tokens 32] [--rounds 5]

Prints JSON and writes it to --out, if given. The bundled model (49,152 tokens) in fp32 on one
PyTorch thread; times are the thread's CPU time. Four answers are sampled together at temperature 1,
with none, half or all of them constrained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mixture import machine

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.json_form import Form, json_form
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.loading import load_base

ORDER = {
    "type": "object",
    "properties": {
        "customer": {"type": "string", "maxLength": 40},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
                "required": ["name", "count"],
                "additionalProperties": False,
            },
            "maxItems": 4,
        },
        "express": {"type": "boolean"},
    },
    "required": ["customer", "items", "express"],
    "additionalProperties": False,
}
ENDLESS = {"type": "array", "items": {"type": "string"}, "minItems": 1000}
ROWS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    held = Adapters(load_base("bundled", torch.float32, torch.device("cpu")))
    tokenizer = held.base.tokenizer
    read = seconds(lambda: json_form(tokenizer, {"type": "object"}))
    forms = {
        "order": json_form(tokenizer, ORDER),
        "object": json_form(tokenizer, {"type": "object"}),
    }
    endless = json_form(tokenizer, ENDLESS)
    rounds = [
        {held_to: a_token(held, endless, held_to, asked.tokens) for held_to in (0, 2, ROWS)}
        for _ in range(asked.rounds)
    ]
    result = {
        "machine": machine(),
        "rows": ROWS,
        "tokenizer_read_once_s": round(read, 3),
        "schema_ms": {
            "order": round(1e3 * seconds(lambda: json_form(tokenizer, ORDER)), 2),
            "object": round(1e3 * seconds(lambda: json_form(tokenizer, {"type": "object"})), 2),
        },
        "mask_ms": {name: masks(held, form) for name, form in forms.items()},
        "token_ms": {
            f"{held_to} of {ROWS} held": {
                "middle": round(statistics.median(one[held_to] for one in rounds), 2),
                "least": round(min(one[held_to] for one in rounds), 2),
                "most": round(max(one[held_to] for one in rounds), 2),
            }
            for held_to in (0, 2, ROWS)
        },
    }
    text = json.dumps(result, indent=2)
    if asked.out:
        Path(asked.out).write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def masks(held: Adapters, form: Form) -> dict[str, float]:
    """Milliseconds per token of an answer to mask invalid tokens and to accept the next one."""
    text = '{"customer": "Anna Berger", "items": [{"name": "lamp", "count": 2}], "express": true}'
    ids = held.base.tokenizer.encode(text)
    found = []
    for _ in range(20):
        walk = form.begin()
        for token in ids:
            logits = torch.zeros(49_152)
            began = time.thread_time()
            walk.hide(logits, [2])
            walk.take(token)
            found.append(1e3 * (time.thread_time() - began))
            assert logits[token] == 0.0
    middle, most = statistics.median(found), max(found[len(ids) :])
    return {"middle": round(middle, 3), "most": round(most, 3), "first": round(found[0], 3)}


def a_token(held: Adapters, form: Form, held_to: int, tokens: int) -> float:
    """Milliseconds per token with `held_to` of the rows constrained to an endless form."""
    batch = Continuous(held.engine, Room())
    ids = held.encode_text(None, "Once")
    jobs = [
        Job(
            Request(None, ids),
            Sampling(2 * tokens, 1.0, seed=row, form=form if row < held_to else None),
        )
        for row in range(ROWS)
    ]
    for job in jobs:
        batch.add(job)
    while batch.running < ROWS:
        batch.step()
    before, spent = written(jobs), 0.0
    for _ in range(tokens):
        began = time.thread_time()
        batch.step()
        spent += time.thread_time() - began
        assert batch.running == ROWS, "an answer has ended; take fewer tokens"
    return 1e3 * spent / (written(jobs) - before)


def written(jobs: list[Job]) -> int:
    return sum(len(job.live.ids) for job in jobs if job.live is not None)


if __name__ == "__main__":
    main()
