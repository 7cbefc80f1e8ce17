"""Memory of each process while a base is tuned in shards, and of one process that holds all of it.

    python benchmarks/sharded.py [--processes 1 2 4] [--method lora] [--layers 16] [--out FILE]

A Llama of random weights in fp32 (1.1 GB by default) is saved, loaded, trained for two steps,
validated and stored by so many gloo processes on the CPU, where device and host are one memory.
`anonymous_bytes` is the most that a process allocated itself, read 50 times a second;
`resident_bytes` includes pages of files, which the system drops where memory is scarce.
`imported_bytes` of both were there before. Writes benchmarks/results/sharded.json.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
SIZES = {
    "vocab_size": 8000,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make_model(folder: Path, layers: int) -> int:
    """Save a model of random weights with the tests' tokenizer; returns its bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tests = runpy.run_path(str(TESTS / "conftest.py"))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=layers))
    model.save_pretrained(folder)
    tests["make_tokenizer"].__wrapped__()(tests["CHATML"]).save_pretrained(folder)
    return sum(p.numel() * p.element_size() for p in model.parameters())


def status(*names: str) -> list[int]:
    """Values of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = dict(line.split(":", 1) for line in lines)
    return [1024 * int(held[name].split()[0]) for name in names]


class Watch:
    """The highest anonymous memory of this process since it began to watch."""

    def __init__(self) -> None:
        self.most, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, *status("RssAnon"))

    def end(self) -> int:
        """Stop watching; returns the bytes."""
        self._stop.set()
        self._thread.join()
        return self.most


def work(folder: Path, method: str, count: int) -> None:
    """Train in this process, or as one of so many, and write down what it took."""
    import brulee.pipeline
    from brulee.recipe import recipe_from_dict

    place = runpy.run_path(str(TESTS / "bad_inputs.py"))["Place"](folder, folder / "model")
    place.recipe["method"] = {"name": method}
    place.recipe["train"] |= {"max_steps": 2, "save_every": 2}
    place.recipe["data"]["source"] = str(folder / "rows.jsonl")
    imported = status("RssAnon", "VmRSS")
    if count > 1:
        os.environ["ACCELERATE_USE_FSDP"] = "true"
        runpy.run_path(str(TESTS / "unit" / "training" / "several.py"))["become"](count)
    watch = Watch()
    Path("/proc/self/clear_refs").write_text("5")
    recipe = recipe_from_dict(place.recipe)
    brulee.pipeline.train(recipe, folder=folder / f"{method}-{count}")
    rank = os.environ.get("RANK", "0")
    (resident,) = status("VmHWM")
    found = {"anonymous_bytes": watch.end(), "resident_bytes": resident, "imported_bytes": imported}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


def measure(folder: Path, method: str, count: int) -> list[dict[str, Any]]:
    """Each process's memory, in order of rank."""
    given = ["--work", str(folder), "--method", method, "--processes", str(count)]
    subprocess.run([sys.executable, "-W", "ignore", __file__, *given], check=True)
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(count)]


def main() -> None:
    """Measure every number of processes."""
    import torch
    import transformers

    from brulee.pipeline.origin import machine

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--method", default="lora")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sharded.json")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.method, given.processes[0])
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = make_model(folder / "model", given.layers)
        rows = []
        for count in given.processes:
            for rank, found in enumerate(measure(folder, given.method, count)):
                rows.append({"processes": count, "rank": rank, **found})
                print(rows[-1], flush=True)
    said = {
        "command": "python benchmarks/sharded.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "model_bytes": size,
        "method": given.method,
        "rows": rows,
    }
    given.out.write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
