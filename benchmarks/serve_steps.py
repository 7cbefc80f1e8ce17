"""Duration of the steps that read a long prompt while ten answers are generated.

    python benchmarks/serve_steps.py [--sentences 380]

Prints JSON and writes it to --out, if given. The bundled model in fp32 on one PyTorch thread;
sixteen tokens per sentence. Times are the thread's CPU time, so that other work on the machine does
not count. Every stream waits for each step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from mixture import machine

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.loading import load_base

SENTENCE = "The customer asked where the parcel was, and the agent sent a new one. "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=380)
    parser.add_argument("--out", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    held = Adapters(load_base("bundled", torch.float32, torch.device("cpu")))
    batch = Continuous(held.engine, Room())
    for number in range(10):
        sampling = Sampling(1000, temperature=1.0, seed=number)
        batch.add(Job(Request(None, held.encode_text(None, "Once")), sampling))
    while batch.running < 10:
        batch.step()
    usual = [step(batch) for _ in range(8)]
    long = Job(Request(None, held.encode_text(None, SENTENCE * asked.sentences)), Sampling(1))
    batch.add(long)
    beside = []
    while long.live is None:
        beside.append(step(batch))
    result = {
        "what": "a thread's seconds in a step that writes ten tokens of SmolLM2-135M in fp32",
        "command": "python benchmarks/serve_steps.py " + " ".join(sys.argv[1:]),
        "usual": summary(usual),
        "beside_a_long_prompt": summary(beside),
        "prompt_tokens": len(long.request.prompt),
        "steps": len(beside),
        **machine(),
    }
    text = json.dumps(result, indent=2)
    if asked.out:
        Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def step(batch: Continuous) -> float:
    """The CPU seconds of one step."""
    began = time.thread_time()
    batch.step()
    return time.thread_time() - began


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    found = (statistics.median(seconds), min(seconds), max(seconds))
    return dict(zip(("median", "least", "most"), (round(one, 3) for one in found), strict=True))


if __name__ == "__main__":
    main()
