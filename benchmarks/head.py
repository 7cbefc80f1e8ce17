"""The loss of 8,192 tokens over a vocabulary of 128,256: chunked against full logits.

    .venv/bin/python benchmarks/head.py [--device cuda]

Hidden states and a frozen head in bf16, forward and backward, each side in a separate process; the
extra memory is the peak minus inputs and weights. The losses must agree within 1e-2. Writes
head-DEVICE.json; --tokens and --vocabulary are for trying the script.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOKENS, VOCABULARY, WIDTH = 8_192, 128_256, 1_024
TIMES = {"cpu": 2, "cuda": 10}  # the best counts: on a GPU the first ones select kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to write to")
    parser.add_argument("--side", choices=("chunks", "full"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = (arguments.tokens, arguments.vocabulary)
    if arguments.side:
        print(json.dumps(side(arguments.side, arguments.device, *sizes)))
        return
    runs = {name: _run(name, arguments.device, *sizes) for name in ("chunks", "full")}
    ours, theirs = runs["chunks"], runs["full"]
    assert abs(ours["loss"] - theirs["loss"]) < 1e-2, (ours["loss"], theirs["loss"])
    from brulee.pipeline.origin import machine

    result = {
        "what": f"{sizes[0]} tokens, vocabulary {sizes[1]}, width {WIDTH}, bf16, frozen head",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "memory_ratio": round(ours["extra_bytes"] / theirs["extra_bytes"], 4),
        "time_ratio": round(min(ours["seconds"]) / min(theirs["seconds"]), 3),
        "runs": runs,
    }
    target = arguments.results / f"head-{arguments.device}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: result[k] for k in ("memory_ratio", "time_ratio")}))


def side(name: str, kind: str, tokens: int, vocabulary: int) -> dict[str, Any]:
    import torch

    from brulee.models.allocator import keep_freed_memory
    from brulee.training.memory import current_bytes, peak_bytes, reset_peak

    keep_freed_memory()
    device = torch.device(kind)
    draw = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(tokens, WIDTH, generator=draw).to(device, torch.bfloat16)
    weight_VD = (torch.randn(vocabulary, WIDTH, generator=draw) / 32).to(device, torch.bfloat16)
    targets_N = torch.randint(vocabulary, (tokens,), generator=draw).to(device)
    hidden_ND.requires_grad_(True)
    _give_back(device)
    before = current_bytes(device)
    reset_peak(device)
    loss, seconds = 0.0, []
    for _ in range(TIMES[kind]):
        hidden_ND.grad = None
        started = time.perf_counter()
        total = _loss(name)(hidden_ND, weight_VD, targets_N) / tokens
        total.backward()
        loss = total.item()  # synchronises with the device
        seconds.append(time.perf_counter() - started)
    extra = peak_bytes(device) - before
    return {"loss": loss, "seconds": seconds, "extra_bytes": extra, "torch": torch.__version__}


def _loss(name: str) -> Any:
    import torch.nn.functional as F

    from brulee.models.linear_cross_entropy import linear_cross_entropy

    if name == "chunks":
        return linear_cross_entropy
    # In bf16 throughout, the least memory that full logits can take; summed in fp32.
    return lambda hidden, weight, targets: (
        F.cross_entropy(hidden @ weight.T, targets, reduction="none").float().sum()
    )


def _give_back(device: Any) -> None:
    from brulee.models.allocator import give_back_freed_memory

    if device.type == "cpu":
        give_back_freed_memory()


def _run(name: str, device: str, tokens: int, vocabulary: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", name, "--device", device]
    command += ["--tokens", str(tokens), "--vocabulary", str(vocabulary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
