"""The optimisers side by side: validation loss of LoRA on DialogSum by learning rate.

    python benchmarks/optimizers.py --data dialogsum.dev.jsonl --runs optimizer-runs

Trains LoRA r16 on the bundled model once for every optimiser and rate: 120 dialogues in 30 steps of
four, fp32, the same rows, order and beginning. The loss is that of 32 other dialogues at the end.
Finished trainings in RUNS are not repeated. Prints a table and writes
benchmarks/results/optimizers.json.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import brulee
from brulee.pipeline.origin import machine, versions
from brulee.training.events import read_events

HERE = Path(__file__).parent
OPTIMIZERS = ("adamw", "adafactor", "muon")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a JSONL with dialogue and summary")
    parser.add_argument("--runs", default="optimizer-runs", help="the folder of the trainings")
    given = parser.parse_args()
    rows = [
        trained(optimizer, rate, given.data, Path(given.runs))
        for optimizer in OPTIMIZERS
        for rate in RATES
    ]
    print(f"| | {' | '.join(f'{rate:g}' for rate in RATES)} |\n|---|{'--:|' * len(RATES)}")
    for optimizer in OPTIMIZERS:
        own = (row["validation_loss"] for row in rows if row["optimizer"] == optimizer)
        print(f"| `{optimizer}` | {' | '.join(f'{loss:.3f}' for loss in own)} |")
    result = {
        "what": "validation loss of LoRA r16 on DialogSum after 30 steps, one seed",
        "command": f"python benchmarks/optimizers.py --data {Path(given.data).name}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }
    target = HERE / "results" / "optimizers.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def trained(optimizer: str, rate: float, data: str, runs: Path) -> dict[str, Any]:
    """Train, or read a finished training, and return its losses."""
    recipe = {
        "name": f"{optimizer}-{rate:g}",
        "runs": str(runs),
        "model": "bundled",
        "data": {
            "source": data,
            "templates": {"jinja": "Summarise this dialogue.\n\n{{dialogue}} ||| {{summary}}"},
            "split": {"validation": 0.2, "test": 0.05},
            "limit": 160,
        },
        "method": {"name": "lora", "rank": 16},
        "train": {
            "epochs": 1,
            "batch_size": 4,
            "precision": "float32",
            "optimizer": optimizer,
            "learning_rate": rate,
        },
        "evaluate": {"metrics": ["rouge"]},
    }
    folder = Path(brulee.train(recipe).folder)
    events = read_events(folder / "events.jsonl")
    losses = [event["loss"] for event in events if event["event"] == "step"]
    (validated,) = (event["loss"] for event in events if event["event"] == "validation")
    return {
        "optimizer": optimizer,
        "learning_rate": rate,
        "validation_loss": round(validated, 4),
        "losses": [round(loss, 4) for loss in losses],
    }


if __name__ == "__main__":
    main()
