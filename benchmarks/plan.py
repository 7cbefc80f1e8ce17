"""The peak memory and time that `brulee plan` predicts, compared with actual training.

    python benchmarks/plan.py [--only "LoRA r8" ...]    # a minute for each, on a machine left alone
    python benchmarks/plan.py --memory                  # where it is not: memory alone, not kept

Each configuration is planned in one process and trained in another. Memory is the peak resident
size of the training process (on CUDA: peak allocated memory), from its first step to its last
checkpoint; time is that of the steps. Prints a Markdown table and adds to
benchmarks/results/plan.json; exits 1 if a prediction is off by more than 15% of memory or 30% of
time.
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
RESULT = HERE / "results" / "plan.json"
DOCS = HERE.parent / "docs"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "LoRA r8": {"method": {"name": "lora", "rank": 8}},
    "LoRA r8, fp32": {"method": {"name": "lora", "rank": 8}, "train": {"precision": "float32"}},
    "LoRA r8, 32 documents a step": {
        "method": {"name": "lora", "rank": 8},
        "train": {"batch_size": 32, "max_steps": 2},
    },
    "LoRA r8, documents of 2,000 tokens": {
        "method": {"name": "lora", "rank": 8},
        "data": {"source": "long.jsonl"},
        "train": {"max_length": 2048, "batch_size": 4, "max_steps": 3},
    },
    "QLoRA r8, NF4": {
        "model": {"name": "bundled", "quantise": "nf4"},
        "method": {"name": "lora", "rank": 8},
    },
    "full": {"method": {"name": "full"}},
    "full, fp32": {"method": {"name": "full"}, "train": {"precision": "float32"}},
    "full, adamw8bit": {"method": {"name": "full"}, "train": {"optimizer": "adamw8bit"}},
    "norms": {"method": {"name": "selective", "train": "norms"}},
    "last 4 layers": {"method": {"name": "selective", "train": "layers", "layers": {"last": 4}}},
    "prompt of 20": {"method": {"name": "prompt", "tokens": 20}},
    "bottleneck": {"method": {"name": "bottleneck"}},
    "prefix": {"method": {"name": "prefix"}},
    "LoRA r8, plain text": {
        "method": {"name": "lora", "rank": 8},
        "data": {"source": "manual.txt", "templates": "plain-text"},
        "train": {"max_length": 512},
    },
    "LoRA r8, passes of 512 tokens": {
        "method": {"name": "lora", "rank": 8},
        "train": {"micro_batch": 512, "batch_size": 4, "accumulation": 2},
    },
    "full, documents of 2,000 tokens": {
        "method": {"name": "full"},
        "data": {"source": "long.jsonl"},
        "train": {"max_length": 2048, "batch_size": 4, "max_steps": 3},
    },
    # With T5's dropout of 0.1.
    "T5-small, LoRA r8": {"model": "t5-small", "method": {"name": "lora", "rank": 8}},
    "T5-small, full": {"model": "t5-small", "method": {"name": "full"}},
    "T5-small, prefix": {"model": "t5-small", "method": {"name": "prefix"}},
}
MEMORY, TIME = 0.15, 0.30
TOGETHER = 8  # chats per long document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CONFIGURATIONS))
    parser.add_argument("--memory", action="store_true", help="compare memory alone")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measured(Path(arguments.side))))
        return
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        long_documents(Path("long.jsonl"))
        Path("manual.txt").write_text("\n\n".join(map(Path.read_text, sorted(DOCS.glob("*.md")))))
        small_t5(Path("t5-small"))
        for name in arguments.only or CONFIGURATIONS:
            rows[name] = compare(name)
            print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
            if not arguments.memory:
                add(name, rows[name])
    print(table(rows))
    sys.exit(any(off(row, arguments.memory) for row in rows.values()))


def small_t5(folder: Path) -> None:
    """A T5-small with random weights and the bundled model's tokenizer."""
    from shapes import write
    from transformers import AutoTokenizer

    from brulee.models.bundled import bundled_folder

    write("t5-small", folder, "cpu")
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)


def long_documents(file: Path) -> None:
    """Write documents of several chats in a row, followed by all their summaries."""
    from brulee.data.sources import open_source

    rows = open_source("bundled/support-chats")
    with file.open("w", encoding="utf-8") as out:
        for start in range(len(rows)):
            some = [rows[(start + i) % len(rows)] for i in range(TOGETHER)]
            joined = {k: "\n".join(row[k] for row in some) for k in ("dialogue", "summary")}
            out.write(json.dumps(joined) + "\n")


def compare(name: str) -> dict[str, Any]:
    changes = CONFIGURATIONS[name]
    spec = {
        "model": "bundled",
        "data": {
            "source": "bundled/support-chats",
            "templates": "dialogue-summary/plain",
            "split": {"test": 0, "validation": 0},
        },
        "train": {"batch_size": 8, "max_steps": 8, "max_length": 1024},
    }
    for section, values in changes.items():
        both = isinstance(spec.get(section), dict)
        spec[section] = {**spec[section], **values} if both else values  # type: ignore[dict-item]
    recipe = Path("recipe.yaml")
    recipe.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items()))
    method = changes["method"]["name"]
    planning = ["-m", "brulee", "plan", recipe, "--json", "--quiet", "--method", method]
    line = json.loads(python(*planning))["lines"][0]
    found = json.loads(python(__file__, "--side", recipe).splitlines()[-1])
    return {
        "changes": changes,
        "parts": line["memory"],
        "memory": {"predicted": line["memory"]["total"], "measured": found["peak_memory_bytes"]},
        "seconds": {"predicted": line["cost"]["seconds"], "measured": found["seconds"]},
        "tokens": {"predicted": line["cost"]["tokens"], "measured": found["tokens"]},
        "steps": found["steps"],
        "precision": found["precision"],
    }


def measured(recipe: Path) -> dict[str, Any]:
    """Train as `brulee train` does, and report the memory and time it took."""
    from brulee.pipeline.folder import open_run
    from brulee.pipeline.preparation import prepare
    from brulee.pipeline.tuning import trainer_of
    from brulee.recipe import load_recipe

    with tempfile.TemporaryDirectory() as scratch:
        where = open_run(load_recipe(recipe, ()), "train", Path(scratch) / "run", fresh=False)
        totals = trainer_of(prepare(where)).train()
        told = ("steps", "tokens", "seconds", "peak_memory_bytes")
        took = {name: getattr(totals, name) for name in told}
        return {**took, "precision": where.manifest()["precision"]}


def python(*arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def error(pair: dict[str, float]) -> float:
    return pair["predicted"] / pair["measured"] - 1


def off(row: dict[str, Any], memory_alone: bool = False) -> bool:
    late = not memory_alone and abs(error(row["seconds"])) > TIME
    return late or abs(error(row["memory"])) > MEMORY


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| configuration | memory predicted | measured | off | time predicted | measured | off |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        memory, seconds = row["memory"], row["seconds"]
        lines.append(
            f"| {name} | {memory['predicted'] / 2**20:,.0f} MiB "
            f"| {memory['measured'] / 2**20:,.0f} MiB | {error(memory):+.0%} "
            f"| {seconds['predicted']:.1f} s | {seconds['measured']:.1f} s "
            f"| {error(seconds):+.0%} |"
        )
    return "\n".join(lines)


def add(name: str, row: dict[str, Any]) -> None:
    """Add a configuration to the result file."""
    from brulee.pipeline.origin import machine, versions

    found = json.loads(RESULT.read_text()) if RESULT.is_file() else {"rows": {}}
    rows = {**found["rows"], name: {**row, "date": datetime.now(UTC).date().isoformat()}}
    ordered = {name: rows[name] for name in CONFIGURATIONS if name in rows}
    result = {
        "what": "brulee plan beside brulee train: highest memory and time of the steps",
        "command": "python benchmarks/plan.py",
        "machine": machine(),
        "versions": versions(),
        "within": sum(not off(row) for row in ordered.values()),
        "of": len(ordered),
        "rows": ordered,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
