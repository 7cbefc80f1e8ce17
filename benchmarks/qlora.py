"""LoRA over the bundled model in bfloat16 and in four bits: the same 100 steps, the same documents.

    python benchmarks/qlora.py --data dialogsum/dev.jsonl --runs runs/qlora

Two of DialogSum's 450 training conversations per step, rank 8 on every linear layer. Compares the
loss on the 50 held-out reference summaries before and after, the losses of the last 20 steps, and
the bytes of the blocks' weights. Writes benchmarks/results/qlora-dialogsum.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from mixture import machine
from quality import loss, recipe_of
from quality_cases import Case

from brulee.models.quantising import held_bytes
from brulee.pipeline.folder import open_run
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import tune
from brulee.training.events import read_events

RESULT = Path(__file__).parent / "results" / "qlora-dialogsum.json"
OPTIONS = {"rank": 8, "alpha": 16.0}
CASES = (
    Case("LoRA r8, bfloat16", "lora", 1e-3, OPTIONS),
    Case("LoRA r8, NF4", "lora", 1e-3, OPTIONS, quantise="nf4"),
)
LAST = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="DialogSum's dev.jsonl")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--documents", type=int, default=2, help="conversations a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tag", help="ignored; a name for the process")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sides = {case.name: side(given, case) for case in CASES}
    lora, qlora = (sides[case.name] for case in CASES)
    result = {
        "what": f"{given.steps} steps of {given.documents} DialogSum conversations, LoRA r8 on all "
        "linear maps of SmolLM2-135M-Instruct, learning rate 1e-3",
        "loss_difference": round(qlora["loss_after"] - lora["loss_after"], 4),
        "training_loss_difference": round(qlora["last_losses"] - lora["last_losses"], 4),
        "block_bytes_ratio": round(qlora["block_bytes"] / lora["block_bytes"], 4),
        "sides": sides,
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "sides"}, indent=1))


def side(given: argparse.Namespace, case: Case) -> dict[str, Any]:
    recipe = recipe_of(given, case, 0)
    where = open_run(recipe, "train", None, False)
    kept = where.path / "side.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    prepared = prepare(where)
    before, blocks = loss(prepared, None), held_bytes(prepared.base.model.model.layers)
    started = time.process_time()
    tuned = tune(prepared)
    seconds = time.process_time() - started
    events = read_events(where.path / "events.jsonl")
    losses = [event["loss"] for event in events if event["event"] == "step"]
    found = {
        "loss_before": round(before, 4),
        "loss_after": round(loss(prepared, tuned.attached), 4),
        "first_loss": round(losses[0], 4),
        "last_losses": round(statistics.mean(losses[-LAST:]), 4),
        "block_bytes": blocks,
        "peak_mib": round(tuned.trained.cost.peak_memory_bytes / 2**20),
        "train_tokens": tuned.trained.cost.train_tokens,
        "train_cpu_seconds": round(seconds, 1),
    }
    shutil.rmtree(where.path / "checkpoints")
    kept.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(case.name, json.dumps(found), flush=True)
    del prepared, tuned
    gc.collect()
    return found


if __name__ == "__main__":
    main()
