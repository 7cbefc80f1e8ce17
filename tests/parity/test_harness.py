"""Every request for a task file is the one that lm-evaluation-harness itself builds.

tests/fixtures/harness/requests.json holds those of lm_eval 0.4.13, made by
benchmarks/peers/lm_eval_requests.py; where lm_eval is installed they are also built anew.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from brulee.evaluation.suites import suite
from brulee.evaluation.tasks import Example, SuiteTask

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "harness"
RECORDED = json.loads((FIXTURE / "requests.json").read_text(encoding="utf-8"))["requests"]
FILES = {f"toy_{n}": n for n in ("choices", "drawn", "own", "sums", "last_word", "prose")}


def opened(name: str) -> SuiteTask:
    found = suite(str(FIXTURE / f"{FILES[name]}.yaml"))
    (task,) = found.open(None, found.Options())
    return task


def requests(task: SuiteTask, example: Example) -> list[list[Any]]:
    """The arguments of what an example asks, as the harness has them."""
    if example.choices and not example.question:
        return [[choice] for choice in example.choices]
    if example.choices:
        return [[example.context(), choice] for choice in example.choices]
    assert task.generation is not None
    kwargs = {"until": list(task.generation.stop), "max_gen_toks": task.generation.max_new_tokens}
    return [[example.context(), {**kwargs, "do_sample": False}]]


@pytest.mark.parametrize("name", FILES)
def test_requests_are_letter_for_letter_the_recorded_ones(name: str) -> None:
    task = opened(name)
    found = [request for example in task.examples() for request in requests(task, example)]
    assert found == RECORDED[name]


def test_the_recorded_requests_are_those_of_an_installed_harness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    side = ROOT / "benchmarks" / "peers" / "lm_eval_requests.py"
    spec = importlib.util.spec_from_file_location("lm_eval_requests", side)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(FIXTURE)
    assert json.loads(json.dumps(module.requests(FIXTURE))) == RECORDED
