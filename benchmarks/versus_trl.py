"""LoRA training on the CPU beside TRL + PEFT: same model, same documents, one run of this script.

    python3 -m venv .peer && .peer/bin/pip install -r benchmarks/peers/trl.txt
    .venv/bin/python benchmarks/versus_trl.py --peer .peer/bin/python

Eight conversations of bundled/support-chats make every step, so that order cannot matter. Equal
work is asserted: the same number of tokens, losses within 2e-2 of each other at every step,
gradient norms above zero. Writes benchmarks/results/versus-trl-cpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="the Python of the peer's environment")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(our_side(json.loads(Path(arguments.side).read_text()))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        job = _job(arguments, scratch)
        file = Path(scratch) / "job.json"
        runs = {}
        for name, python, script, bf16 in (
            ("brulee fp32", sys.executable, [__file__, "--peer", "-", "--side"], False),
            ("trl fp32", arguments.peer, [str(HERE / "peers" / "trl_side.py")], False),
        ):
            file.write_text(json.dumps({**job, "bf16": bf16}))
            runs[name] = _run([python, *script, str(file)])
            print(name, _speed(runs[name]), file=sys.stderr, flush=True)
    result = _result(runs, job)
    target = HERE / "results" / "versus-trl-cpu.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: result[k] for k in ("speed_ratio", "memory_ratio")}))


def our_side(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from brulee.data.encoding import Encoder
    from brulee.methods.lora import LoRA, LoRAOptions
    from brulee.models.loading import load_base
    from brulee.recipe import TrainSpec
    from brulee.training.documents import Document
    from brulee.training.events import read_events
    from brulee.training.trainer import Trainer

    torch.set_num_threads(job["threads"])
    base = load_base(job["model"], torch.float32, torch.device("cpu"))
    encoder = Encoder(base.tokenizer)
    documents = [encoder.encode(prompt, completion) for prompt, completion in job["documents"]]
    attached = LoRA(LoRAOptions(rank=job["rank"], alpha=job["alpha"])).attach(base.model)
    count = len(documents)
    spec = TrainSpec(
        batch_size=count,
        max_steps=job["steps"],
        epochs=float(job["steps"]),
        schedule="constant",
        warmup=0.0,
        save_every=10_000,
    )
    folder = Path(job["scratch"]) / "run"
    folder.mkdir()
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i % count), documents[i % count]),
        count,
        spec,
        learning_rate=job["learning_rate"],
        folder=folder,
    )
    totals = trainer.train()
    events = [e for e in read_events(folder / "events.jsonl") if e["event"] == "step"]
    return {
        "seconds": [e["seconds"] for e in events],
        "losses": [e["loss"] for e in events],
        "grad_norms": [e["grad_norm"] for e in events],
        "tokens": sum(len(d.ids) for d in documents),
        "peak_memory_bytes": totals.peak_memory_bytes,
        "versions": {"torch": torch.__version__},
    }


def _job(arguments: argparse.Namespace, scratch: str) -> dict[str, Any]:
    from brulee.data.sources import open_source
    from brulee.models.bundled import bundled_folder

    rows = [open_source("bundled/support-chats")[i] for i in range(0, 216, 27)]
    ask = "Summarize the following conversation.\n\n"
    return {
        "model": str(bundled_folder()),
        "documents": [(ask + row["dialogue"], row["summary"]) for row in rows],
        "steps": arguments.steps,
        "rank": arguments.rank,
        "alpha": 2 * arguments.rank,
        "learning_rate": 1e-3,
        "threads": os.cpu_count(),
        "scratch": scratch,
    }


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _speed(run: dict[str, Any]) -> float:
    """Real tokens per second, the first step (warm-up of both sides) left out."""
    return round(run["tokens"] * len(run["seconds"][1:]) / sum(run["seconds"][1:]), 1)


def _result(runs: dict[str, dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = runs["brulee fp32"], runs["trl fp32"]
    # TRL keeps the line break that the chat template writes after the last turn.
    surplus = theirs["tokens"] - ours["tokens"]
    assert 0 <= surplus <= len(job["documents"]), (ours["tokens"], theirs["tokens"])
    for a, b in zip(ours["losses"], theirs["losses"], strict=True):
        assert abs(a - b) < 2e-2, (ours["losses"], theirs["losses"])
    assert min(ours["grad_norms"] + theirs["grad_norms"]) > 0
    from brulee.pipeline.folder import machine

    return {
        "what": f"LoRA r{job['rank']} on all linears, SmolLM2-135M, 8 conversations a step, fp32",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "tokens_per_second": {name: _speed(run) for name, run in runs.items()},
        "speed_ratio": round(_speed(ours) / _speed(theirs), 2),
        "memory_ratio": round(ours["peak_memory_bytes"] / theirs["peak_memory_bytes"], 3),
        "runs": runs,
    }


if __name__ == "__main__":
    main()
