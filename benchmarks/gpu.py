"""The measurements that need a GPU, most valuable first, each in a separate process.

    python benchmarks/gpu.py --list
    python benchmarks/gpu.py --wheels wheels --small 135m --data dialogsum.ids.json \\
        --only exact,lora-16,lora-64,head

A row that fails or takes too long does not stop the others: the end of its output is kept in
gpu-failed.json next to the results until the row succeeds, and the exit code is 1. The command ends
within --minutes: a row is stopped when only a minute is left for each row after it, and none starts
in the last minute. A row is left out if its peer has no Python from --wheels (gpu_sites.py), --trl
or --unsloth. `--tiny` runs every row on a two-layer model, which takes seconds: with `--device cpu`
to try the scripts, with `--device cuda` to check first that the machine has what they need. See
docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_sites import install
from versus_jobs import PAIRS

HERE = Path(__file__).parent
LAST_LINES = 120  # gpu_exact.py prints about 90
LEAST = 60.0  # seconds that are left for a row; with fewer left, none starts
FAILED = "gpu-failed.json"
TINY = {"tokens": "64", "vocabulary": "1024"}


@dataclass(frozen=True)
class Row:
    """A pair of versus_trl.py against a peer, the head against full logits, or gpu_exact.py.

    The targets: at least `speed` times as fast, at most `memory` times the memory; None: no target.
    """

    name: str
    against: str
    speed: float | None = None
    memory: float | None = None

    @property
    def pair(self) -> str:
        """The pair of versus_trl.py."""
        return self.name.removesuffix(f"-{self.against}")

    @property
    def file(self) -> str:
        """The stem of its result file, without the device."""
        own = {"full logits": "head", "a CPU": "gpu-exact"}
        return own.get(self.against, f"versus-{self.against}")


ROWS = (
    Row("exact", "a CPU"),
    Row("lora-16", "trl", speed=15),
    Row("lora-16-graphs", "trl", speed=15),
    Row("lora-1b-packed", "trl", speed=5),
    Row("lora-64", "trl", speed=10, memory=0.25),
    Row("lora-16-unsloth", "unsloth", speed=10),
    Row("lora-1b-packed-unsloth", "unsloth", speed=4),
    Row("head", "full logits"),
    Row("qlora-7b-packed", "trl", speed=2, memory=0.8),
    Row("lora-1b", "trl", speed=5),
    Row("lora-1b-unsloth", "unsloth", speed=4),
    Row("lora-64-unsloth", "unsloth", speed=10, memory=0.25),
    Row("lora-64-graphs", "trl", speed=10, memory=0.25),
    Row("lora-16-narrow", "trl"),
    Row("lora-1b-packed-narrow", "trl"),
    Row("t5-16", "seq2seq"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="the rows, and what each is held to")
    parser.add_argument("--only", help="rows, with commas between them [default: all]")
    parser.add_argument("--wheels", type=Path, help="folder of carried wheels (gpu_sites.py)")
    parser.add_argument(
        "--small",
        default="bundled",
        choices=("bundled", "135m"),
        help="135m: the bundled model's shape with random weights",
    )
    parser.add_argument("--trl", help="the Python of the environment of peers/trl.txt")
    parser.add_argument("--unsloth", help="the Python of the environment of peers/unsloth.txt")
    parser.add_argument("--data", help="a JSONL with dialogue and summary, or .ids.json")
    parser.add_argument("--models", help="folder for shapes [default: in the cache]")
    parser.add_argument("--results", type=Path, help="folder to add to [default: results]")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all rows")
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument(
        "--tiny", action="store_true", help="try the rows; without --results, nothing is kept"
    )
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{row.name:24}beside {row.against}; {_held_to(row)}" for row in ROWS))
        return
    rows = chosen(arguments.only)
    if arguments.tiny:
        rows = [replace(row, speed=None, memory=None) for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.wheels:
            found = install(arguments.wheels, Path(scratch) / "sites")
            arguments.trl = arguments.trl or found.get("trl")
            arguments.unsloth = arguments.unsloth or found.get("unsloth")
        results = arguments.results or (Path(scratch) if arguments.tiny else HERE / "results")
        results.mkdir(parents=True, exist_ok=True)
        outcomes = run(rows, arguments, results)
        print(table(rows, outcomes, results, arguments.device))
    sys.exit(any(outcome not in ("ok", "left out") for outcome in outcomes.values()))


def chosen(only: str | None) -> list[Row]:
    """The named rows, in the order of ROWS; all of them if none are named."""
    names = [row.name for row in ROWS] if only is None else only.split(",")
    unknown = set(names) - {row.name for row in ROWS}
    if unknown:
        sys.exit(f"no row is called {', '.join(sorted(unknown))}; --list names them")
    return [row for row in ROWS if row.name in names]


def run(rows: Sequence[Row], arguments: argparse.Namespace, results: Path) -> dict[str, str]:
    """Run the rows; each one's outcome: ok, failed, stopped, no time, left out."""
    until = time.monotonic() + 60 * arguments.minutes
    commands = [command_of(row, arguments, results) for row in rows]
    outcomes = {}
    for at, (row, command) in enumerate(zip(rows, commands, strict=True)):
        left = until - time.monotonic()
        if command is None:
            outcome = "left out"
        elif left < LEAST:
            outcome = "no time"
        else:
            # A row that hangs must not take the time of all that follow.
            later = sum(other is not None for other in commands[at + 1 :])
            outcome, said = attempt(command, max(LEAST, left - LEAST * later))
            keep(results / FAILED, row.name, outcome, command, said)
        print(f"{row.name}: {outcome}", file=sys.stderr, flush=True)
        outcomes[row.name] = outcome
    return outcomes


def command_of(row: Row, arguments: argparse.Namespace, results: Path) -> list[str] | None:
    """The command of a row; None if its peer's Python is not given."""
    common = ["--device", arguments.device, "--results", str(results)]
    if row.file == "gpu-exact":
        return _python("gpu_exact.py", *common)
    if row.file == "head":
        sizes = ["--tokens", TINY["tokens"], "--vocabulary", TINY["vocabulary"]]
        return _python("head.py", *common, *(sizes if arguments.tiny else []))
    peer = getattr(arguments, "trl" if row.against == "seq2seq" else row.against)
    if peer is None:
        return None
    named = ["--pairs", row.pair, "--against", row.against, "--peer", peer]
    if PAIRS[row.pair].model == "bundled" and not arguments.tiny:
        named += ["--model", arguments.small]
    for key in ("data", "models"):
        if getattr(arguments, key):
            named += [f"--{key}", getattr(arguments, key)]
    return _python("versus_trl.py", *named, *common, *(_tiny(row) if arguments.tiny else []))


def _tiny(row: Row) -> list[str]:
    packed = PAIRS[row.pair].tokens is not None
    sizes = ["--tokens", TINY["tokens"]] if packed else []
    steps = ["--steps", "3", "--warm-up", "1"]
    model = "t5-tiny" if PAIRS[row.pair].model == "t5" else "tiny"
    return ["--model", model, "--batch-size", "2", *steps, *sizes]


def _python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / script), *arguments]


def attempt(command: list[str], seconds: float) -> tuple[str, list[str]]:
    """Run a command with a time limit; its outcome, and the last lines that it printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        # A new session, so that the processes that it starts are stopped with it.
        started = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            outcome = "failed" if started.wait(seconds) else "ok"
        except subprocess.TimeoutExpired:
            outcome = "stopped"
        finally:  # also on Ctrl-C, which does not reach another session
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()
        said.seek(0)
        lines = said.read().splitlines()[-LAST_LINES:]
    if outcome != "ok":
        print("\n".join(lines), file=sys.stderr, flush=True)
    return outcome, lines


def keep(file: Path, row: str, outcome: str, command: list[str], said: list[str]) -> None:
    """Keep what a failed row said; for one that succeeded, remove what was kept."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found.pop(row, None)
    if outcome != "ok":
        found[row] = {"outcome": outcome, "command": " ".join(command), "said": said}
    if found:
        aside = file.with_suffix(".tmp")  # so that no interrupt leaves a part of it
        aside.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        aside.replace(file)
    else:
        file.unlink(missing_ok=True)


def table(rows: Sequence[Row], outcomes: dict[str, str], results: Path, device: str) -> str:
    """The rows in Markdown, each with its targets."""
    head = "| row | tokens/s | peer | speed | memory | all steps, s | peer | held to | |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|---|---|"]
    for row in rows:
        cells, outcome = [""] * 6, outcomes[row.name]
        found = _found(row, results / f"{row.file}-{device}.json", outcome == "ok")
        if found is not None:
            cells = _cells(found)
            outcome = _verdict(row, found) if outcome == "ok" else outcome
        lines.append("| " + " | ".join([row.name, *cells, _held_to(row), outcome]) + " |")
    return "\n".join(lines)


def _found(row: Row, file: Path, ok: bool) -> dict[str, Any] | None:
    """A row's entry in its result file; for a failed one, that of our side alone or of both."""
    if row.file == "gpu-exact" or not file.is_file():
        return None
    found = json.loads(file.read_text())
    if "pairs" not in found:
        return dict(found) if ok else None
    one = found["pairs" if ok else "unpaired"].get(row.pair) if ok or "unpaired" in found else None
    return None if one is None else dict(one)


def _cells(found: dict[str, Any]) -> list[str]:
    if "time_ratio" in found:
        return ["", "", f"{1 / found['time_ratio']:.2f}x", f"{found['memory_ratio']:.2f}", "", ""]
    speeds = [f"{rate:,.0f}" for rate in found["tokens_per_second"].values()]
    if "speed_ratio" not in found:
        return [*speeds, *[""] * (6 - len(speeds))]
    seconds = [f"{spent:.0f}" for spent in found["seconds_of_all_steps"].values()]
    return [*speeds, f"{found['speed_ratio']:.1f}x", f"{found['memory_ratio']:.2f}", *seconds]


def _verdict(row: Row, found: dict[str, Any]) -> str:
    short = (row.speed is not None and found["speed_ratio"] < row.speed) or (
        row.memory is not None and found["memory_ratio"] > row.memory
    )
    own = found.get("runs", {}).get("brulee", {})
    replayed = f", {own['replayed']} replayed" if "replayed" in own else ""
    return ("short of it" if short else "ok") + replayed


def _held_to(row: Row) -> str:
    speed = [] if row.speed is None else [f"{row.speed:g}x"]
    memory = [] if row.memory is None else [f"{row.memory:g} of the memory"]
    return ", ".join([*speed, *memory]) or "nothing"


if __name__ == "__main__":
    main()
