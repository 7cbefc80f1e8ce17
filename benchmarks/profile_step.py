"""Where the time of a training step goes: LoRA r16 on all linear layers, eight conversations.

    python benchmarks/profile_step.py --data dialogsum.dev.jsonl [--precision float32]

Trains a few steps of recipes/dialogsum.yaml, the last two under torch.profiler. Each operation's
self time counts towards the first of GROUPS that it or one of its callers matches; the rest of the
wall time is Python and the profiler itself. The steps before, without the profiler, show its cost.
Prints a Markdown table and writes benchmarks/results/profile-step.json, or
profile-step-float32.json.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from brulee.models import kernels
from brulee.pipeline.folder import open_run
from brulee.pipeline.origin import machine, versions
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import trainer_of
from brulee.recipe import load_recipe
from brulee.training.documents import Document
from brulee.training.events import read_events

HERE = Path(__file__).parent
WARM, PLAIN, WATCHED = 2, 3, 2
_PRODUCT = r"aten::(mm|addmm_?|bmm|baddbmm|linear|matmul)"
# (group, operation pattern, caller pattern); the first match counts.
GROUPS: list[tuple[str, str, str]] = [
    ("head and loss", r".*", r"_LinearCrossEntropy.*"),
    ("optimiser and clipping", r".*", r"Optimizer\.step.*"),
    ("optimiser and clipping", r"aten::(_foreach_.*|linalg_vector_norm|dot)", ""),
    ("attention: loops", r"loop attend.*", ""),
    ("attention: products", _PRODUCT, r"_Attend.*"),
    ("attention: softmax", r"loop softmax.*|aten::_softmax.*", ""),
    ("attention: the rest", r".*", r"_Attend.*"),
    ("linear maps: products", _PRODUCT, ""),
    ("norms", r"loop norm.*", ""),
    ("norms", r".*", r"_RMSNorm.*"),
    ("rotations", r".*", r"_Rotate.*"),
    ("SwiGLU", r".*", r"_SwiGLU.*"),
    ("linear maps: the rest", r".*", r"_Project.*"),
    ("copies", r"aten::(copy_|_to_copy|to|cat|index|clone|contiguous|.*pad.*|fill_|zero_)", ""),
    ("other operations", r".*", ""),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a JSONL with dialogue, summary and fname")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    arguments = parser.parse_args()
    asked = "" if arguments.precision == "bfloat16" else f"-{arguments.precision}"
    name_loops()
    steps, seconds, found = watch(arguments.data, arguments.precision)
    watched, plain = steps[-WATCHED:], steps[WARM:-WATCHED]
    spent = dict.fromkeys((group for group, *_ in GROUPS), 0.0)
    for event in found.events():  # type: ignore[no-untyped-call]
        spent[group_of(event)] += event.self_cpu_time_total / 1e6
    spent["Python and the profiler"] = seconds - sum(spent.values())
    largest = sorted(spent.items(), key=lambda each: -each[1])
    shares = {group: round(value / seconds, 4) for group, value in largest}
    result = {
        "what": "one step of LoRA r16 on all linears, SmolLM2-135M, 8 conversations",
        "precision": arguments.precision,
        "command": f"python benchmarks/profile_step.py --data {Path(arguments.data).name}"
        + (f" --precision {arguments.precision}" if asked else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "tokens": [step["tokens"] for step in watched],
        "seconds": [step["seconds"] for step in watched],
        "tokens_per_second": {"watched": speed(watched), "not watched": speed(plain)},
        "shares": shares,
    }
    (HERE / "results" / f"profile-step{asked}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['tokens_per_second']}\n\n| part of a step | share |\n|---|--:|")
    for group, share in shares.items():
        print(f"| {group} | {share:.1%} |")


def watch(data: str, precision: str) -> tuple[list[dict[str, Any]], float, profile]:
    """The steps' events, the wall time of the profiled steps, and the profile."""
    recipe = load_recipe(
        HERE.parent / "recipes" / "dialogsum.yaml",
        [
            f"data.source={data}",
            "data.split.test=0",
            "method.rank=16",
            "train.batch_size=8",
            f"train.max_steps={WARM + PLAIN + WATCHED}",
            f"train.precision={precision}",
        ],
    )
    first = (WARM + PLAIN) * recipe.train.batch_size
    # Without Python stacks (with_stack), which would cost more than the step.
    watching = profile(activities=[ProfilerActivity.CPU])
    began = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_of(prepare(open_run(recipe, "train", Path(scratch) / "run", fresh=False)))
        read = trainer.document

        def document(i: int) -> Document:
            nonlocal began
            if i == first:
                watching.start()
                began = time.perf_counter()
            return read(i)

        trainer.document = document
        # Without the checkpoint after the last step, which is not a part of it.
        trainer._between_steps = lambda progress, stop: stop  # type: ignore[method-assign]  # noqa: ARG005
        trainer.train()
        seconds = time.perf_counter() - began
        watching.stop()
        steps = [e for e in read_events(trainer.folder / "events.jsonl") if e["event"] == "step"]
    return steps, seconds, watching


def name_loops() -> None:
    """Label our kernels, which are not PyTorch operations, for the profiler."""
    found = kernels._found

    def named(name: str, *where: Any) -> Callable[..., None] | None:
        run = found(name, *where)

        def call(*arguments: Any) -> None:
            assert run is not None
            with record_function(f"loop {name}"):
                run(*arguments)

        return call if run else None

    kernels._found = named  # type: ignore[assignment]


def group_of(event: Any) -> str:
    callers, parent = [event.name], event.cpu_parent
    while parent is not None:
        callers.append(parent.name)
        parent = parent.cpu_parent
    for group, name, caller in GROUPS:
        by = not caller or any(re.fullmatch(caller, c) for c in callers)
        if by and re.fullmatch(name, event.name):
            return group
    raise AssertionError("the last group takes all")


def speed(steps: list[dict[str, Any]]) -> float:
    tokens, seconds = (sum(step[key] for step in steps) for key in ("tokens", "seconds"))
    return float(round(tokens / seconds, 1))


if __name__ == "__main__":
    main()
