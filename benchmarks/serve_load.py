"""The longest pause in generation while `brulee serve` loads an adapter.

    python benchmarks/serve_load.py [--loads 6]

Prints JSON and writes it to benchmarks/results/serve-load.json, or to --out. The bundled model in
fp32 generates two answers on one PyTorch thread, while adapters (LoRA r8 on all linear layers) are
loaded one after another: each first in a background thread, as a server does, then again in the
compute thread. A pause is the time between the ends of two steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mixed import stored
from mixture import machine

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.sampling import Sampling
from brulee.models.loading import load_base
from brulee.serving.limits import Limits
from brulee.serving.store import Store
from brulee.serving.worker import Asked, Worker

RESULT = Path(__file__).parent / "results" / "serve-load.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=6)
    parser.add_argument("--out", default=str(RESULT))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base("bundled", torch.float32, torch.device("cpu"))
    ends, step = list[float](), Continuous.step

    def timed(batch: Continuous) -> list[Job]:
        changed = step(batch)
        ends.append(time.monotonic())
        return changed

    with tempfile.TemporaryDirectory() as place:
        folders = [stored(base, i, Path(place) / f"adapter{i}") for i in range(asked.loads)]
        held = Adapters(base)
        worker = Worker(held, Room(), 64)
        store = Store(worker, "bundled", Limits(), Path(place))
        Continuous.step = timed  # type: ignore[method-assign, assignment]
        worker.start()
        write(worker)
        usual = gaps(ends, lambda: time.sleep(8))
        beside, between = [], []
        for number, folder in enumerate(folders):
            add = partial(store.add, f"a{number}", folder, 0)
            beside.append(max(gaps(ends, add)))
            put = partial(held.add, f"again{number}", folder)
            between.append(max(gaps(ends, partial(waited, worker, put))))
        worker.stop()
    result = {
        "what": "the longest seconds between two steps, of two answers, SmolLM2-135M in fp32",
        "command": "python benchmarks/serve_load.py " + " ".join(sys.argv[1:]),
        "without_loading": summary(usual),
        "prepared_beside": summary(beside),
        "by_the_thread_that_computes": summary(between),
        **machine(),
    }
    text = json.dumps(result, indent=2)
    Path(asked.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def write(worker: Worker) -> None:
    """Submit two requests for long answers."""
    ids = worker.held.encode_text(None, "Once upon a time")
    for number in range(2):
        sampling = Sampling(4000, temperature=1.0, seed=number)
        worker.submit([(Asked(None, ids, sampling), lambda _: None)])


def waited(worker: Worker, work: Callable[[], Any]) -> None:
    """Run `work` in the compute thread and wait for it."""
    worker.call(work).result()


def gaps(ends: list[float], work: Callable[[], Any]) -> list[float]:
    """Seconds between the ends of the steps that overlap with `work`."""
    while len(ends) < 3:
        time.sleep(0.01)
    first = len(ends) - 1
    work()
    last = len(ends)
    while len(ends) < last + 2:
        time.sleep(0.01)
    return [b - a for a, b in zip(ends[first:], ends[first + 1 :], strict=False)]


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    found = (statistics.median(seconds), min(seconds), max(seconds))
    return dict(zip(("median", "least", "most"), (round(one, 3) for one in found), strict=True))


if __name__ == "__main__":
    main()
