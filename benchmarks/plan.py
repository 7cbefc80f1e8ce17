"""What `brulee plan` predicts beside what training then takes: peak memory and time.

    python benchmarks/plan.py [--only small]     # about five minutes on a machine left alone

Each configuration is planned in one process and trained in another. Memory is the highest resident
size of the training process (on CUDA: what was allocated); time is that of the steps. Prints a
Markdown table and writes benchmarks/results/plan.json; exits 1 where a prediction is further off
than 15% of memory or 30% of time.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MAKE_MODEL = runpy.run_path(str(HERE / "bad_input.py"))["make_model"]
SIZES: dict[str, dict[str, Any]] = {
    "small": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8},
    "medium": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12},
}
WIDER = {"vocab_size": 8192, "num_attention_heads": 8, "num_key_value_heads": 4}
CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("small", {"name": "lora", "rank": 16}),
    ("small", {"name": "full"}),
    ("small", {"name": "ia3"}),
    ("small", {"name": "bottleneck"}),
    ("medium", {"name": "lora", "rank": 16}),
    ("medium", {"name": "full"}),
    ("medium", {"name": "prefix"}),
    ("bundled", {"name": "lora", "rank": 16}),
    ("bundled", {"name": "full"}),
    ("bundled", {"name": "prompt"}),
]
MEMORY, TIME = 0.15, 0.30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="a size, or size/method")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        models = {"bundled": "bundled", **{size: str(model(root, size)) for size in SIZES}}
        rows = []
        for size, method in CONFIGURATIONS:
            name = f"{size}/{method['name']}"
            if arguments.only and not {size, name} & set(arguments.only):
                continue
            rows.append(compare(root, name, models[size], method, arguments.steps))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    if not arguments.only:
        (HERE / "results" / "plan.json").write_text(json.dumps(result(rows), indent=2) + "\n")
    sys.exit(any(off(row) for row in rows))


def model(root: Path, size: str) -> Path:
    """A Llama with random weights, and the tiny model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = MAKE_MODEL(root / size)
    config = AutoConfig.from_pretrained(folder)
    for key, value in {**SIZES[size], **WIDER, "max_position_embeddings": 1024}.items():
        setattr(config, key, value)
    config.head_dim = config.hidden_size // config.num_attention_heads
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return Path(folder)


def compare(root: Path, name: str, base: str, method: dict[str, Any], steps: int) -> dict[str, Any]:
    recipe = root / "recipe.yaml"
    spec = {
        "model": base,
        "data": {"source": "bundled/support-chats", "templates": "dialogue-summary"},
        "method": method,
        "train": {"batch_size": 8, "max_steps": steps, "max_length": 512},
    }
    recipe.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items()))
    planned = brulee("plan", recipe, "--json", "--quiet", "--method", method["name"])
    line = json.loads(planned)["lines"][0]
    folder = root / name.replace("/", "-")
    brulee("train", recipe, "--folder", folder, "--quiet")
    (state,) = (json.loads(f.read_text()) for f in folder.glob("checkpoints/step-*/state.json"))
    stored = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    return {
        "configuration": name,
        "parts": line["memory"],
        "memory": {"predicted": line["memory"]["total"], "measured": state["peak"]},
        "seconds": {
            "predicted": round(line["cost"]["seconds"], 2),
            "measured": round(state["seconds"], 2),
        },
        "result_bytes": {
            "predicted": line["cost"]["result_bytes"],
            "measured": sum(file.stat().st_size for file in stored),
        },
    }


def brulee(*arguments: object) -> str:
    command = [sys.executable, "-m", "brulee", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def error(pair: dict[str, float]) -> float:
    return pair["predicted"] / pair["measured"] - 1


def off(row: dict[str, Any]) -> bool:
    return abs(error(row["memory"])) > MEMORY or abs(error(row["seconds"])) > TIME


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| configuration | memory predicted | measured | off | time predicted | measured | off |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        memory, seconds = row["memory"], row["seconds"]
        lines.append(
            f"| {row['configuration']} | {memory['predicted'] / 2**20:,.0f} MiB "
            f"| {memory['measured'] / 2**20:,.0f} MiB | {error(memory):+.0%} "
            f"| {seconds['predicted']:.1f} s | {seconds['measured']:.1f} s "
            f"| {error(seconds):+.0%} |"
        )
    return "\n".join(lines)


def result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    from brulee.pipeline.folder import machine, versions

    return {
        "what": "brulee plan beside brulee train: highest memory and time of the steps",
        "command": "python benchmarks/plan.py " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "within": sum(not off(row) for row in rows),
        "of": len(rows),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
