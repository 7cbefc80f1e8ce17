"""Scoring and generation against lm-evaluation-harness: same model, same strings, one run.

    python3 -m venv .peer && .peer/bin/pip install -r benchmarks/peers/lm-eval.txt
    .venv/bin/python benchmarks/versus_lm_eval.py mmlu --peer .peer/bin/python --data MMLU_FOLDER
    .venv/bin/python benchmarks/versus_lm_eval.py bbh --peer .peer/bin/python --data BBH_FOLDER

Each side is a separate process, timed from start to end, in fp32. Asserts the same choice on every
question and log-probabilities within 1e-4 (mmlu), the same text (bbh). Writes
benchmarks/results/versus-lm-eval-{mmlu,bbh}.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUBJECTS = ("miscellaneous", "professional_psychology", "high_school_psychology")
TASKS = ("date_understanding", "logical_deduction_three_objects", "sports_understanding")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["mmlu", "bbh"], nargs="?")
    parser.add_argument("--peer", help="the Python of the peer's environment")
    parser.add_argument("--data", type=Path, help="the data, as published")
    parser.add_argument("--items", type=int, default=60, help="of each subject or task")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(our_side(json.loads(Path(arguments.side).read_text()))))
        return
    job = {"mmlu": mmlu_job, "bbh": bbh_job}[arguments.what](arguments)
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "job.json"
        file.write_text(json.dumps(job))
        for name, command in (
            ("brulee", [sys.executable, __file__, "--side"]),
            ("lm-eval", [arguments.peer, str(HERE / "peers" / "lm_eval_side.py")]),
        ):
            runs[name] = _run([*command, str(file)])
            print(name, round(runs[name]["seconds"], 1), "s", file=sys.stderr, flush=True)
    result = _result(arguments.what, job, runs)
    target = HERE / "results" / f"versus-lm-eval-{arguments.what}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: result[k] for k in ("seconds", "speed_ratio", "agreement")}))


def our_side(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from brulee.evaluation.asking import ask
    from brulee.evaluation.tasks import Example, Generation
    from brulee.inference.sampling import Sampling
    from brulee.inference.session import open_session

    torch.set_num_threads(job["threads"])
    session = open_session(job["model"], "cpu", "float32")
    examples = [
        Example(id=str(i), question=item["context"], choices=tuple(item["choices"]))
        for i, item in enumerate(job["items"])
    ]
    versions = {"torch": torch.__version__}
    if job["kind"] == "loglikelihood":
        asked = ask(examples, session.encoder, "plain", None, job["max_length"])
        requests = [request for one in asked for request in one.requests]
        likelihoods = session.engine.loglikelihood(requests)
        return {"found": [f.log_probability for f in likelihoods], "versions": versions}
    generation = Generation(job["max_new_tokens"], tuple(job["stop"]))
    asked = ask(examples, session.encoder, "plain", generation, job["max_length"])
    sampling = Sampling(job["max_new_tokens"], stop=tuple(job["stop"]))
    written = session.engine.complete([one.prompt for one in asked], sampling)
    return {"found": [w.text for w in written], "versions": versions}


def mmlu_job(arguments: argparse.Namespace) -> dict[str, Any]:
    """The suite's own five-shot requests with the harness's prompt."""
    from brulee.evaluation.suites.mmlu import MMLU, Options

    options = Options(prompt="harness", subjects=list(SUBJECTS))
    examples = [
        example
        for task in MMLU().open(arguments.data, options)
        for example in task.examples(arguments.items)
    ]
    items = [{"context": e.context(len(e.shots)), "choices": e.choices} for e in examples]
    return {**_common(), "kind": "loglikelihood", "items": items}


def bbh_job(arguments: argparse.Namespace) -> dict[str, Any]:
    """Requests with three chain-of-thought examples and a question (Suzgun et al. 2022)."""
    items = []
    for task in TASKS:
        text = (arguments.data / "cot-prompts" / f"{task}.txt").read_text(encoding="utf-8")
        shots = text.split("-----\n", 1)[1].strip()
        rows = json.loads((arguments.data / "data" / f"{task}.json").read_text())["examples"]
        for row in rows[: arguments.items]:
            asked = f"{shots}\n\nQ: {row['input']}\nA: Let's think step by step."
            items.append({"context": asked, "choices": ()})
    return {
        **_common(), "kind": "generate", "items": items, "stop": ["\n\nQ:"],
        "max_new_tokens": arguments.max_new_tokens,
    }  # fmt: skip


def _common() -> dict[str, Any]:
    from brulee.models.bundled import bundled_folder

    model = str(bundled_folder())
    return {"model": model, "threads": os.cpu_count(), "batch_size": 8, "max_length": 2048}


def _run(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "seconds": seconds}


def _result(what: str, job: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from brulee.pipeline.origin import machine

    ours, theirs = runs["brulee"], runs["lm-eval"]
    seconds = {name: round(run["seconds"], 1) for name, run in runs.items()}
    compare = _compare_choices if what == "mmlu" else _compare_texts
    return {
        "what": f"{what}, {len(job['items'])} items, SmolLM2-135M, fp32, start-up included",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {name: run["versions"] for name, run in runs.items()},
        "seconds": seconds,
        "speed_ratio": round(theirs["seconds"] / ours["seconds"], 2),
        "agreement": compare(job, ours["found"], theirs["found"]),
    }


def _compare_choices(job: dict[str, Any], ours: list[float], theirs: list[float]) -> dict[str, Any]:
    choices = len(job["items"][0]["choices"])
    same = 0
    for start in range(0, len(ours), choices):
        a, b = (found[start : start + choices] for found in (ours, theirs))
        same += max(range(choices), key=a.__getitem__) == max(range(choices), key=b.__getitem__)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    assert same == len(job["items"]), (same, len(job["items"]))
    assert apart < 1e-4, apart
    return {"same_choice": same, "of": len(job["items"]), "largest_difference": apart}


def _compare_texts(job: dict[str, Any], ours: list[str], theirs: list[str]) -> dict[str, Any]:
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    characters = sum(map(len, ours))
    assert same == len(job["items"]), (same, len(job["items"]))
    return {"same_text": same, "of": len(job["items"]), "characters": characters}


if __name__ == "__main__":
    main()
