"""A run on a base sharded over two processes says what a run in one process says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brulee.training.events import read_events

WORKER = Path(__file__).with_name("sharded.py")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")
LORA = {"name": "lora", "rank": 2}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "lora": LORA,
    "dora": {**LORA, "dora": True},
    "pissa": {**LORA, "init": "pissa"},
    "norms": {"name": "selective", "train": "norms"},
    "prompt": {"name": "prompt"},
    "prefix": {"name": "prefix"},
    "rows": {**LORA, "train_tokens": [7, 8]},
    "whole": {**LORA, "train_whole": ["lm_head"]},
    "new": {**LORA, "train_whole": ["lm_head"]},
    "start": {"start": "runs/one-rows/adapter"},
}


def sharded(at: Any, environment: dict[str, str], *given: str) -> Any:
    return subprocess.run(
        [sys.executable, "-W", "ignore", WORKER, *given],
        cwd=at.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def said(run: Path) -> dict[str, Any]:
    """What does not depend on time and place."""
    events = read_events(run / "events.jsonl")
    results = json.loads((run / "results.json").read_text())
    answers = [
        json.loads(line)
        for who in ("base", "tuned")
        for line in (run / "eval" / who / "rows-test.jsonl").read_text().splitlines()
    ]
    return {
        "losses": [e["loss"] for e in events if e["event"] in ("step", "validation")],
        "samples": [e["samples"] for e in events if e["event"] == "completions"],
        "scores": [(s["who"], s["metric"], s["value"]) for s in results["scores"]],
        "texts": [answer["output"] for answer in answers],
    }


def assert_same(found: Path, expected: Path) -> None:
    two, one = said(found), said(expected)
    assert two.pop("losses") == pytest.approx(one.pop("losses"), abs=1e-5)
    assert two == one
    assert one["samples"]


@pytest.mark.slow
def test_a_sharded_run_says_what_a_run_in_one_process_says(
    at: Any, brulee: Any, environment: dict[str, str]
) -> None:
    """With every kind of method, and what is trained alongside; then with other metrics."""
    at.recipe["train"] |= {"generate_every": 2, "generate_rows": 2}
    more = {"new": {"model": {"name": str(at.model), "add_tokens": ["<sum>"]}}}
    written: list[str] = []
    for kind in ("one", "two"):
        for name, method in METHODS.items():
            file = f"{kind}-{name}.yaml"
            written.append(at.write(file, method=method, **more.get(name, {})))
    ones, twos = written[: len(METHODS)], written[len(METHODS) :]
    for file in ones:
        done = brulee("run", file, "--quiet")
        assert done.code == 0, done.err
    done = sharded(at, environment, *twos)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = Path(at.folder, "runs")
    for name in METHODS:
        assert_same(runs / f"two-{name}", runs / f"one-{name}")

    # Asked for another metric, a finished run is only scored, on a base that is loaded anew.
    again = ("full", "dora", "start")
    for kind in ("one", "two"):
        for name in again:
            method, metrics = METHODS[name], ["rouge", "bleu"]
            at.write(f"{kind}-{name}.yaml", method=method, evaluate__metrics=metrics)
    for name in again:
        assert brulee("run", f"one-{name}.yaml", "--quiet").code == 0
    done = sharded(at, environment, *(f"two-{name}.yaml" for name in again))
    assert done.returncode == 0, done.stderr[-3000:]
    for name in again:
        assert_same(runs / f"two-{name}", runs / f"one-{name}")
        assert any(metric == "bleu" for _, metric, _ in said(runs / f"two-{name}")["scores"])


@pytest.mark.slow
def test_a_process_killed_in_its_backward_pass_ends_the_other_in_a_sentence(
    at: Any, environment: dict[str, str]
) -> None:
    done = sharded(at, environment, "--kill", "2", at.write(method={"name": "full"}))
    assert "another of the 2 processes ended or cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
