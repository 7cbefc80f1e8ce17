"""Sixteen requests to an encoder-decoder: batched together, and one at a time as before.

    python benchmarks/serve_pairs.py [--out FILE]

Prints JSON and writes it to --out, if given. A T5 of t5-small's size with random weights, in fp32
on one PyTorch thread; K adapters (LoRA r8 on all linear layers), K = 0 being the base alone;
prompts of 20 to 110 tokens, 32 new tokens each, without end-of-text tokens. `serve`: all requests
arrive at once at the server's engine, which used to answer them one by one; `generate`: all
requests are known in advance, and adapters used to answer in turn, each with its requests in one
batch. Each round runs each way, and all texts are asserted to be equal. Times are the thread's CPU
time, which other work hardly changes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from mixture import machine
from transformers import T5Config, T5ForConditionalGeneration

from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.engine import Engine
from brulee.inference.mixed import MixedEngine, Request
from brulee.inference.sampling import Sampling
from brulee.methods import build_method
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

ROWS, NEW, ROUNDS, COUNTS = 16, 32, 3, (0, 4, 16)
BEFORE = "before"
SAMPLING = Sampling(NEW)
Texts = list[list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = T5Config(vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8)
    config.decoder_start_token_id = 0
    model = T5ForConditionalGeneration(config).eval()
    tokenizer = load_base("bundled", torch.float32, torch.device("cpu")).tokenizer
    base = Base(model, tokenizer, "t5", "0" * 64, "seq2seq", Path())
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 111, (ROWS,), generator=draw).tolist()
    prompts = [torch.randint(3, 32000, (n,), generator=draw).tolist() for n in lengths]
    with tempfile.TemporaryDirectory() as place:
        folders = [stored(base, i, Path(place) / str(i)) for i in range(max(COUNTS))]
        swap = Swap(base)
        for folder in folders:
            swap.add(folder.name, folder)
        joined, apart = (held(swap, base, joins) for joins in (True, False))
    assert not joined.apart
    seconds: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for k in COUNTS:
            names = [folders[i % k].name if k else None for i in range(ROWS)]
            requests = [Request(name, p) for name, p in zip(names, prompts, strict=True)]
            texts = []
            for what, write in WAYS.items():
                for way, engine in (("joined", joined), (BEFORE, apart)):
                    began = time.thread_time()
                    texts.append(write(engine, requests))
                    seconds[what, way, k].append(time.thread_time() - began)
            assert all(found == texts[0] for found in texts)
    speeds = {
        what: {
            str(k): {
                **{way: speed(seconds[what, way, k]) for way in ("joined", BEFORE)},
                "times": times(seconds[what, "joined", k], seconds[what, BEFORE, k]),
            }
            for k in COUNTS
        }
        for what in WAYS
    }
    result = {
        "what": f"new tokens a thread's second, {ROWS} requests for K LoRA r8 over a t5-small",
        "command": " ".join(["python benchmarks/serve_pairs.py", *sys.argv[1:]]),
        "prompt_tokens": sum(lengths),
        **speeds,
        **machine(),
    }
    text = json.dumps(result, indent=2)
    if asked.out:
        Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def stored(base: Base, number: int, folder: Path) -> Path:
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.01)
    save_adapter(folder, attached, base, "t5", "", {})
    attached.detach()
    return folder


def held(swap: Swap, base: Base, joins: bool) -> MixedEngine:
    """An engine with all adapters; without `joins`, each answers separately, as before."""
    engine = MixedEngine(swap, Engine(base.model, (), 0, decode=str))
    if not joins:
        engine.pairs, engine.router = False, None
    for name in swap.names:
        view, attached = swap.view(name)
        assert attached is not None, "a name is an adapter's"
        own = Engine(view.model, (), 0, decode=str)
        engine.add(name, own, engine.learn(view.model, attached))
    return engine


def served(engine: MixedEngine, requests: list[Request]) -> Texts:
    batch = Continuous(engine, Room())
    jobs = [Job(asked, SAMPLING) for asked in requests]
    for job in jobs:
        batch.add(job)
    while not batch.idle:
        batch.step()
    return [job.live.ids for job in jobs if job.live is not None]


def generated(engine: MixedEngine, requests: list[Request]) -> Texts:
    return [list(one.ids) for one in engine.complete(requests, SAMPLING)]


WAYS: dict[str, Callable[[MixedEngine, list[Request]], Texts]] = {
    "serve": served,
    "generate": generated,
}


def speed(seconds: list[float]) -> float:
    return round(ROWS * NEW / statistics.median(seconds), 1)


def times(ours: list[float], before: list[float]) -> dict[str, float]:
    """The speed-up over the rounds: median, minimum, maximum."""
    found = sorted(theirs / own for own, theirs in zip(ours, before, strict=True))
    return {
        "median": round(statistics.median(found), 2),
        "least": round(found[0], 2),
        "most": round(found[-1], 2),
    }


if __name__ == "__main__":
    main()
