"""Training against TRL + PEFT, Unsloth or Seq2SeqTrainer: same model, token ids and adapter.

    python3 -m venv .peer && .peer/bin/pip install -r benchmarks/peers/trl.txt
    .venv/bin/python benchmarks/versus_trl.py --peer .peer/bin/python --data dialogsum.dev.jsonl

Runs pairs of versus_jobs.PAIRS (--pairs); --model, --batch-size, --tokens and --quantise change
them, so that each can be tried in seconds: `--pairs lora-1b-packed --model tiny --tokens 64`.
Conversations come from a JSONL with `dialogue` and `summary`, else from bundled/support-chats, in
the file's order on both sides. Both start from the same adapter.

Equal work is asserted: the same number of tokens at every step, losses within 2e-2 of each other at
each of the first 15 steps and within 1e-1 after, as rounding adds up (1e-1 from the first step on
with dropout), gradient norms above zero.
If the peer fails or the work is not equal, measurements are kept under `unpaired`. Speed leaves out
the warm-up steps (--warm-up); the result also has the seconds of all steps, and the ratio of the
median steps, which one slow step does not affect. Memory is the peak from the first step on:
resident on a CPU; on a GPU both allocated and reserved. Each pair adds to versus-PEER-DEVICE.json,
so that pairs can be run one at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers.dropping import drop_share
from peers.usage import usage
from versus_jobs import PAIRS, Pair, changed, job_of, told

HERE = Path(__file__).parent
PEERS = ("trl", "unsloth", "seq2seq")
# cuDNN would prepare attention anew for every length that a batch is padded to, for about a second
# in torch 2.11; brulee does without it (models/defaults.py), and so that only trainers are
# compared, every peer does too.
ALIKE = {"HF_HUB_OFFLINE": "1", "TORCH_CUDNN_SDPA_DEPRIORITIZED": "1"}
# (all, warm-up) steps on a CPU. On a GPU each pair has its own (versus_jobs.py), as they include
# kernel selection and compilation.
CPU_STEPS = (3, 1)
NEAR, FIRST_STEPS, LATER = 2e-2, 15, 1e-1  # tolerances of losses, and for how many steps
SAID = 20  # last lines kept of our side's output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="the Python of the peer's environment")
    parser.add_argument("--against", default="trl", choices=PEERS)
    parser.add_argument("--data", help="a JSONL with dialogue and summary")
    parser.add_argument("--steps", type=int, help="[default: 3, on a GPU 15]")
    parser.add_argument("--warm-up", type=int, help="steps [default: 1, on a GPU 5]")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--pairs", default="lora-bf16,lora-fp32,full-bf16,full-fp32")
    parser.add_argument("--model", help="bundled, or a shape of shapes.py")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--tokens", type=int, help="of each document, random ids")
    parser.add_argument("--quantise", choices=("nf4",))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--models", type=Path, help="folder for shapes [default: in the cache]")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to add to")
    parser.add_argument("--name", help="of the result file [default: versus-PEER-DEVICE]")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        job = json.loads(Path(arguments.side).read_text())
        Path(job["report"]).write_text(json.dumps(our_side(job)))
        return
    name = arguments.name or f"versus-{arguments.against}-{arguments.device}"
    for pair in arguments.pairs.split(","):
        target = arguments.results / f"{name}.json"
        with tempfile.TemporaryDirectory() as scratch:
            result = _pair(arguments, pair, Path(scratch), target)
        _add(target, pair, result)
        print(pair, json.dumps({k: v for k, v in result.items() if k.endswith("ratio")}))


def _pair(arguments: argparse.Namespace, name: str, scratch: Path, target: Path) -> dict[str, Any]:
    given = {key: getattr(arguments, key) for key in ("model", "batch_size", "tokens", "quantise")}
    pair = changed(PAIRS[name], **given)
    steps, warm_up = _steps(arguments, pair)
    job = job_of(
        pair,
        steps=steps,
        rank=arguments.rank,
        device=arguments.device,
        data=arguments.data,
        models=arguments.models or _models(),
        scratch=scratch,
    )
    ours = _run([sys.executable, __file__, "--peer", "-", "--side"], job)
    print(name, "brulee", speed(ours, warm_up), file=sys.stderr, flush=True)
    setting = _setting(pair, steps, arguments.data)
    _add(target, name, {**_alone(ours, warm_up), **setting, "runs": {"brulee": ours}}, "unpaired")
    theirs = _run([arguments.peer, str(HERE / "peers" / f"{arguments.against}_side.py")], job)
    print(name, arguments.against, speed(theirs, warm_up), file=sys.stderr, flush=True)
    sides = {"brulee": ours, arguments.against: theirs}
    found = {**compared(sides, warm_up), **setting, "runs": sides}
    _add(target, name, found, "unpaired")
    assert_equal_work(ours, theirs, LATER if pair.dropout else NEAR)
    return found


def _steps(arguments: argparse.Namespace, pair: Pair) -> tuple[int, int]:
    """The number of all steps and of warm-up steps."""
    given = (arguments.steps, arguments.warm_up)
    defaults = pair.steps if arguments.device == "cuda" else CPU_STEPS
    steps, warm_up = (
        default if one is None else one for one, default in zip(given, defaults, strict=True)
    )
    if not 0 <= warm_up < steps:
        sys.exit(f"{warm_up} steps of warm-up leave none of {steps} to be timed")
    return steps, warm_up


def _setting(pair: Pair, steps: int, data: str | None) -> dict[str, Any]:
    rest = {k: v for k, v in asdict(pair).items() if k not in ("batch_size", "steps")}
    size = {"steps": steps, "batch_size": pair.batch_size, "data": told(pair, data)}
    return {**size, "setting": rest}


def _models() -> Path:
    from brulee.models.bundled import cache_folder

    return cache_folder() / "shapes"


def our_side(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from brulee.methods.storing import save_adapter
    from brulee.models.loading import load_base
    from brulee.progress import enable
    from brulee.training.bench import measure

    enable()  # messages are kept in the report

    torch.set_num_threads(job["threads"])
    held = torch.bfloat16 if _narrow(job) else torch.float32
    base = load_base(job["model"], held, torch.device(job["device"]), quantise=job["quantise"])
    if base.kind == "seq2seq":
        drop_share(base.model, job["dropout"])
    attached = _attached(base.model, job)
    if job["adapter"]:
        save_adapter(Path(job["adapter"]), attached, base, job["model"], "", {})
    os.environ["BRULEE_GRAPHS"] = job["graphs"]
    trainer = _trainer(base, attached, job)
    if job["recompute"]:
        trainer.passes.recompute()
    before = usage()
    found = {**measure(trainer).summary(), "versions": {"torch": torch.__version__}}
    found["usage"] = usage(before)
    if job["graphs"]:
        found["replayed"] = trainer.passes.replayed
    if base.device.type == "cuda":
        found["peak_reserved_bytes"] = torch.cuda.max_memory_reserved()
    return found


def _narrow(job: dict[str, Any]) -> bool:
    """Whether frozen weights are held in bfloat16; trained weights are in float32."""
    return bool(job["bf16"] and job["method"] == "lora")


def _trainer(base: Any, attached: Any, job: dict[str, Any]) -> Any:
    from brulee.data.encoding import Encoded
    from brulee.recipe import TrainSpec
    from brulee.training.documents import Document
    from brulee.training.trainer import Trainer

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
    return Trainer(
        base,
        attached,
        lambda i: Document(str(i), documents[i]),
        len(documents),
        spec,
        learning_rate=job["learning_rate"],
        folder=folder,
        autocast=job["bf16"] and not _narrow(job),
        pass_tokens=job["micro_batch"],
    )


def _attached(model: Any, job: dict[str, Any]) -> Any:
    from brulee.methods.full import Full
    from brulee.methods.lora import LoRA, LoRAOptions

    if job["method"] == "full":
        return Full().attach(model)
    return LoRA(LoRAOptions(rank=job["rank"], alpha=2 * job["rank"])).attach(model)


def _run(command: list[str], job: dict[str, Any]) -> dict[str, Any]:
    """Run a side on the job, under the same settings as the other, and read its report."""
    scratch = Path(job["scratch"])
    file, report = scratch / "job.json", scratch / "report.json"
    file.write_text(json.dumps({**job, "report": str(report)}))
    done = subprocess.run(
        [*command, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ALIKE},
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found = dict(json.loads(report.read_text()))
    report.unlink()
    said = [line for line in done.stderr.splitlines() if line.strip()][-SAID:]
    return {**found, "said": said} if "--side" in command else found


def _alone(ours: dict[str, Any], warm_up: int) -> dict[str, Any]:
    """The results of our side alone, before the peer has run."""
    return {"tokens_per_second": {"brulee": speed(ours, warm_up)}, "warm_up": warm_up}


def speed(run: dict[str, Any], warm_up: int) -> float:
    """Tokens per second, without padding, over the steps after warm-up."""
    tokens, seconds = (sum(run[key][warm_up:]) for key in ("tokens", "seconds"))
    return float(round(tokens / seconds, 1))


def middle(run: dict[str, Any], warm_up: int) -> float:
    """Tokens per second, without padding, of the median step after warm-up."""
    steps = list(zip(run["tokens"][warm_up:], run["seconds"][warm_up:], strict=True))
    return float(statistics.median(tokens / seconds for tokens, seconds in steps))


def compared(sides: dict[str, dict[str, Any]], warm_up: int) -> dict[str, Any]:
    """Ratios of our run (the first side) to the peer's."""
    ours, theirs = sides.values()
    rates = {name: speed(run, warm_up) for name, run in sides.items()}
    found = {
        "tokens_per_second": rates,
        "speed_ratio": round(speed(ours, warm_up) / speed(theirs, warm_up), 2),
        "middle_speed_ratio": round(middle(ours, warm_up) / middle(theirs, warm_up), 2),
        "memory_ratio": round(ours["peak_memory_bytes"] / theirs["peak_memory_bytes"], 3),
        "largest_loss_difference": max(_differences(ours, theirs)),
        "warm_up": warm_up,
        "seconds_of_all_steps": {n: round(sum(run["seconds"]), 2) for n, run in sides.items()},
    }
    if "peak_reserved_bytes" in ours:
        reserved = ours["peak_reserved_bytes"] / theirs["peak_reserved_bytes"]
        found["reserved_ratio"] = round(reserved, 3)
    return found


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[float]:
    return [abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True)]


def assert_equal_work(ours: dict[str, Any], theirs: dict[str, Any], near: float = NEAR) -> None:
    assert ours["tokens"] == theirs["tokens"], (ours["tokens"], theirs["tokens"])
    apart, losses = _differences(ours, theirs), (ours["losses"], theirs["losses"])
    assert max(apart[:FIRST_STEPS]) < near, losses
    assert max(apart) < LATER, losses
    assert min(ours["grad_norms"] + theirs["grad_norms"]) > 0


def _add(target: Path, pair: str, result: dict[str, Any], among: str = "pairs") -> None:
    """Add a pair to the result file, and draw the losses of all pairs.

    It stays under `unpaired` until equal work is verified.
    """
    from brulee.pipeline.origin import machine

    found = json.loads(target.read_text()) if target.is_file() else {"pairs": {}}
    found["what"] = "LoRA on all linears or everything trained; a pair's setting says of what"
    unpaired = {name: one for name, one in found.pop("unpaired", {}).items() if name != pair}
    # Of each pair: another one may be measured on another day, or on another GPU.
    origin = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
    (found["pairs"] if among == "pairs" else unpaired)[pair] = {**result, **origin}
    found |= {"unpaired": unpaired} if unpaired else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=2) + "\n")
    if among == "pairs":
        draw(found["pairs"], target.with_suffix(".png"))


def draw(pairs: dict[str, Any], file: Path) -> None:
    """Plot the loss curves of both sides, one panel per pair."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(pairs), squeeze=False, figsize=(4 * len(pairs), 3))
    for panel, (name, pair) in zip(panels[0], pairs.items(), strict=True):
        for (side, run), style in zip(reversed(pair["runs"].items()), ("-", "--"), strict=True):
            losses = run["losses"]
            panel.plot(range(1, len(losses) + 1), losses, style, label=side)
        panel.set(title=name, xlabel="step", ylabel="loss per learned token")
        panel.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
