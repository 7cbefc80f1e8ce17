"""LoRA and full fine-tuning beside TRL + PEFT: same model, same token ids, same start, one run.

    python3 -m venv .peer && .peer/bin/pip install -r benchmarks/peers/trl.txt
    .venv/bin/python benchmarks/versus_trl.py --peer .peer/bin/python --data dialogsum.dev.jsonl

Documents come from a JSONL with `dialogue` and `summary`, else from bundled/support-chats, eight
to a step, in the file's order on both sides. Both begin with the same adapter. Equal work is
asserted: the same number of tokens at every step, losses within 2e-2 of each other at every step,
gradient norms above zero. Each pair adds to benchmarks/results/versus-trl-DEVICE.json, so that
pairs may be run one at a time (--pairs).
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
# Which method and number format; what is left out of the mean of 2 steps is the first.
PAIRS = {
    "lora-bf16": {"method": "lora", "bf16": True},
    "lora-fp32": {"method": "lora", "bf16": False},
    "full-bf16": {"method": "full", "bf16": True},
    "full-fp32": {"method": "full", "bf16": False},
}
RATES = {"lora": 1e-3, "full": 1e-4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="the Python of the peer's environment")
    parser.add_argument("--data", help="a JSONL with dialogue and summary")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--name", help="of the result file [default: versus-trl-DEVICE]")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(our_side(json.loads(Path(arguments.side).read_text()))))
        return
    target = HERE / "results" / f"{arguments.name or f'versus-trl-{arguments.device}'}.json"
    for pair in arguments.pairs.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            result = _pair(arguments, pair, Path(scratch))
        _add(target, pair, result)
        print(pair, json.dumps({k: v for k, v in result.items() if k.endswith("ratio")}))


def _pair(arguments: argparse.Namespace, pair: str, scratch: Path) -> dict[str, Any]:
    job = _job(arguments, pair, scratch)
    file = scratch / "job.json"
    file.write_text(json.dumps(job))
    ours = _run([sys.executable, __file__, "--peer", "-", "--side", str(file)])
    print(pair, "brulee", _speed(ours), file=sys.stderr, flush=True)
    theirs = _run([arguments.peer, str(HERE / "peers" / "trl_side.py"), str(file)])
    print(pair, "trl", _speed(theirs), file=sys.stderr, flush=True)
    _assert_equal_work(ours, theirs)
    return {
        "tokens_per_second": {"brulee": _speed(ours), "trl": _speed(theirs)},
        "speed_ratio": round(_speed(ours) / _speed(theirs), 2),
        "memory_ratio": round(ours["peak_memory_bytes"] / theirs["peak_memory_bytes"], 3),
        "largest_loss_difference": max(_differences(ours, theirs)),
        "steps": job["steps"],
        "batch_size": job["batch_size"],
        "data": arguments.data and Path(arguments.data).name,
        "runs": {"brulee": ours, "trl": theirs},
    }


def our_side(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from brulee.data.encoding import Encoded
    from brulee.models.loading import load_base
    from brulee.recipe import TrainSpec
    from brulee.training.bench import measure
    from brulee.training.documents import Document
    from brulee.training.trainer import Trainer

    torch.set_num_threads(job["threads"])
    narrow = job["bf16"] and job["method"] == "lora"
    held = torch.bfloat16 if narrow else torch.float32
    base = load_base(job["model"], held, torch.device(job["device"]))
    documents = [Encoded.ending(ids, learned) for ids, learned in job["documents"]]
    spec = TrainSpec(
        batch_size=job["batch_size"],
        max_steps=job["steps"],
        schedule="constant",
        warmup=0.0,
        save_every=10_000,
    )
    folder = Path(job["scratch"]) / "run"
    folder.mkdir()
    trainer = Trainer(
        base,
        _attached(base.model, job),
        lambda i: Document(str(i), documents[i]),
        len(documents),
        spec,
        learning_rate=job["learning_rate"],
        folder=folder,
        autocast=job["bf16"] and not narrow,
    )
    return {**measure(trainer).summary(), "versions": {"torch": torch.__version__}}


def _attached(model: Any, job: dict[str, Any]) -> Any:
    from brulee.methods.full import Full
    from brulee.methods.lora import LoRA, LoRAOptions

    if job["method"] == "full":
        return Full().attach(model)
    return LoRA(LoRAOptions(rank=job["rank"], alpha=2 * job["rank"])).attach(model)


def _job(arguments: argparse.Namespace, pair: str, scratch: Path) -> dict[str, Any]:
    import torch

    from brulee.data.encoding import Encoder
    from brulee.methods.checkpoint import save_adapter
    from brulee.models.bundled import bundled_folder
    from brulee.models.loading import load_base

    kind = PAIRS[pair]
    base = load_base("bundled", torch.float32, torch.device("cpu"))
    encoder = Encoder(base.tokenizer)
    rows = _rows(arguments.data, arguments.batch_size * arguments.steps)
    ask = "Summarize the following conversation.\n\n"
    documents = [encoder.encode(ask + row["dialogue"], row["summary"]) for row in rows]
    job: dict[str, Any] = {
        **kind,
        "model": str(bundled_folder()),
        "documents": [(d.ids, d.learned) for d in documents],
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "rank": arguments.rank,
        "learning_rate": RATES[str(kind["method"])],
        "threads": os.cpu_count(),
        "device": arguments.device,
        "scratch": str(scratch),
        "adapter": None,
    }
    if kind["method"] == "lora":
        folder = scratch / "start"
        folder.mkdir()
        save_adapter(folder, _attached(base.model, job), base, "bundled", "", {})
        job["adapter"] = str(folder)
    return job


def _rows(data: str | None, count: int) -> list[dict[str, Any]]:
    from brulee.data.sources import open_source

    rows = open_source(data or "bundled/support-chats")
    if len(rows) < count:
        sys.exit(f"{data}: {len(rows)} rows, but {count} are needed")
    return [rows[i] for i in range(count)]


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _speed(run: dict[str, Any]) -> float:
    """Real tokens per second, the first step (warm-up of both sides) left out."""
    return float(round(sum(run["tokens"][1:]) / sum(run["seconds"][1:]), 1))


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[float]:
    return [abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True)]


def _assert_equal_work(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours["tokens"] == theirs["tokens"], (ours["tokens"], theirs["tokens"])
    assert max(_differences(ours, theirs)) < 2e-2, (ours["losses"], theirs["losses"])
    assert min(ours["grad_norms"] + theirs["grad_norms"]) > 0


def _add(target: Path, pair: str, result: dict[str, Any]) -> None:
    """Put a pair into the result file beside the others, and draw the losses of all."""
    from brulee.pipeline.folder import machine

    found = json.loads(target.read_text()) if target.is_file() else {"pairs": {}}
    found["what"] = "SmolLM2-135M, LoRA on all linears or everything trained"
    found["machine"], found["date"] = machine(), datetime.now(UTC).date().isoformat()
    found["pairs"][pair] = result
    target.write_text(json.dumps(found, indent=2) + "\n")
    draw(found["pairs"], target.with_suffix(".png"))


def draw(pairs: dict[str, Any], file: Path) -> None:
    """The loss curves of both sides, one panel a pair."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(pairs), squeeze=False, figsize=(4 * len(pairs), 3))
    for panel, (name, pair) in zip(panels[0], pairs.items(), strict=True):
        for side, style in (("trl", "-"), ("brulee", "--")):
            losses = pair["runs"][side]["losses"]
            panel.plot(range(1, len(losses) + 1), losses, style, label=side)
        panel.set(title=name, xlabel="step", ylabel="loss per learned token")
        panel.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
