"""Kill real training processes at random moments, resume them, and compare bit for bit.

    python benchmarks/resume.py [--kills 24] [--seed 0]

For every method, and for plain text, a mixture, multi-turn chats and a T5 with dropout, a tiny
model is trained twice: once uninterrupted, and once with two SIGKILLs, each at a moment drawn
uniformly from the whole life of the process, which may be before the run begins or during a
checkpoint (written at every step). The resumed run must store the same bytes of weights, and its
events.jsonl must have the same steps and validations, each once. Writes
benchmarks/results/resume.json; exits 1 if a run differs.

Children are forked from a process that has imported everything, so that kills fall into training
and not into imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BAD = runpy.run_path(str(HERE.parent / "tests" / "bad_inputs.py"))
MAKE_MODEL = runpy.run_path(str(HERE / "bad_input.py"))["make_model"]

ROWS: dict[str, list[dict[str, Any]]] = {
    "texts.jsonl": [{"text": " ".join(row.values()) * 3} for row in BAD["ROWS"]],
    "chats.jsonl": [
        {
            "messages": [
                {"role": role, "content": f"{text} {i}."}
                for text in ("Where is parcel", "And the lamp", "Is it day")
                for role, text in (("user", text), ("assistant", f"{text}? Yes"))
            ]
        }
        for i in range(24)
    ],
}
SPLIT = {"test": 0.25, "validation": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "rank": 2, "dropout": 0.3},
    "dora": {"name": "lora", "rank": 2, "dora": True},
    "full": {"name": "full"},
    "ia3": {"name": "ia3"},
    "bottleneck": {"name": "bottleneck"},
    "prompt": {"name": "prompt", "tokens": 4},
    "prefix": {"name": "prefix", "tokens": 4},
    "fisher mask": {"name": "selective", "train": "sparse", "mask": "fisher", "documents": 4},
}
# Cases that change more than the method: the changed keys of the recipe.
OTHERS: dict[str, dict[str, Any]] = {
    "plain text": {"data": {"source": "texts.jsonl", "templates": "plain-text", "split": SPLIT}},
    "chats": {"data": {"source": "chats.jsonl", "split": SPLIT}},
    "mixture": {
        "data": {
            "mix": {"kind": "equal"},
            "tasks": [
                {
                    "name": name,
                    "source": "rows.jsonl",
                    "templates": {
                        "prompt": f"{name}: {{{{ {one} }}}}",
                        "completion": f"{{{{ {other} }}}}",
                    },
                    "split": SPLIT,
                }
                for name, one, other in (
                    ("sum up", "dialogue", "summary"),
                    ("back", "summary", "dialogue"),
                )
            ],
        }
    },
    "neftune": {"train": {"neftune_alpha": 5}},
    "T5 lora": {"model": "tiny-t5", "method": METHODS["lora"]},
    "T5 full": {"model": "tiny-t5", "method": METHODS["full"]},
    "T5 prefix": {"model": "tiny-t5", "method": METHODS["prefix"]},
}
CASES = {**{name: {"method": method} for name, method in METHODS.items()}, **OTHERS}
TRAIN = {
    "epochs": 10,
    "batch_size": 2,
    "accumulation": 2,
    "save_every": 1,
    "validate_every": 3,
    "max_length": 256,
    "precision": "float32",
    "keep_best": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "resume.json")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from brulee import pipeline  # noqa: F401  before the forks

    draw = random.Random(arguments.seed)
    kills = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.chdir(root)
        at = BAD["Place"](root, MAKE_MODEL(root / "tiny-llama"))
        make_t5(root / "tiny-llama", root / "tiny-t5")
        for file, rows in ROWS.items():
            Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        # Rotated by the seed, as a short trial does not reach every case.
        names = [list(CASES)[(arguments.seed + i) % len(CASES)] for i in range(arguments.kills)]
        straight = {name: run_straight(at, name) for name in dict.fromkeys(names)}
        for number, name in enumerate(names):
            kills.append(kill_once(at, name, number, straight[name], draw))
            print(json.dumps(kills[-1]), file=sys.stderr, flush=True)
    same = sum(kill["identical"] for kill in kills)
    arguments.out.write_text(json.dumps(result(kills), indent=2) + "\n")
    print(f"{same} of {len(kills)} identical")
    sys.exit(same != len(kills))


def run_straight(at: Any, name: str) -> tuple[float, str]:
    """The seconds of an uninterrupted training, and the digest of what it stored."""
    folder = at.folder / f"straight-{name.replace(' ', '-')}"
    started = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(child(lambda: train(at, name, folder)), 0)[1])
    assert code == 0, (name, code)
    return time.perf_counter() - started, digest(folder)


def kill_once(
    at: Any, name: str, number: int, straight: tuple[float, str], draw: random.Random
) -> dict[str, Any]:
    """Kill a training at a random moment, resume it, kill it once more, and finish it."""
    folder = at.folder / f"killed-{number}"
    seconds, expected = straight
    moments = []
    for _ in range(2):
        moments.append(draw.uniform(0, seconds))
        process = child(lambda: train(at, name, folder))
        time.sleep(moments[-1])
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    left = sorted(p.name for p in (folder / "checkpoints").glob("*")) if folder.exists() else []
    code = os.waitstatus_to_exitcode(os.waitpid(child(lambda: train(at, name, folder)), 0)[1])
    return {
        "case": name,
        "killed_after_seconds": [round(moment, 3) for moment in moments],
        "of_seconds": round(seconds, 3),
        "checkpoints_then": left,
        "exit": code,
        "identical": code == 0 and digest(folder) == expected,
    }


def train(at: Any, name: str, folder: Path) -> None:
    """Start the training of a case, or resume it."""
    from brulee import pipeline
    from brulee.recipe import load_recipe

    if (folder / "recipe.yaml").is_file():
        pipeline.resume(folder)
        return
    changes = {**CASES[name], "train": {**TRAIN, **CASES[name].get("train", {})}}
    recipe = at.write(f"{folder.name}.yaml", **changes)
    pipeline.train(load_recipe(Path(recipe)), folder=folder)


def make_t5(like: Path, folder: Path) -> None:
    """A two-layer T5 with random weights and dropout, and another model's tokenizer."""
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(like)
    tokenizer.chat_template = None
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        dropout_rate=0.1, pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def child(work: Callable[[], None]) -> int:
    """Fork a process that does the work and exits with 0, or 1 with a traceback; returns its id."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def digest(folder: Path) -> str:
    """The digest of the stored weights, and every event without its timing."""
    from brulee.models.bundled import sha256

    files = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    kept = ("event", "step", "loss", "grad_norm", "lr", "tokens")
    course = [[event.get(key) for key in kept] for event in told]
    return " ".join([*(sha256(file) for file in sorted(files)), json.dumps(course)])


def result(kills: list[dict[str, Any]]) -> dict[str, Any]:
    from brulee.pipeline.origin import machine, versions

    return {
        "what": "SIGKILL at two random moments, then carried on: are the stored weights identical?",
        "command": "python benchmarks/resume.py " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "identical": sum(kill["identical"] for kill in kills),
        "runs": kills,
    }


if __name__ == "__main__":
    main()
