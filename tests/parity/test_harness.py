"""What is asked for a task file, and how it scores, is what lm-evaluation-harness itself does.

tests/fixtures/harness/requests.json holds the requests of lm_eval 0.4.13, and its scores of made-up
replies; benchmarks/peers/lm_eval_requests.py made it. Where lm_eval is installed it is made anew.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from brulee.evaluation.suites import suite
from brulee.evaluation.tasks import Example, Reply, SuiteTask
from brulee.inference.engine import Likelihood

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "harness"
RECORDED = json.loads((FIXTURE / "requests.json").read_text(encoding="utf-8"))
PERCENT = ("bleu", "chrf", "ter")  # where the harness gives percentages
FILES = {
    f"toy_{name}": f"{name}.yaml"
    for name in (
        "choices", "drawn", "own", "sums", "last_word", "prose", "translated", "binary", "named",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def side() -> ModuleType:
    """The peer's side, which has the made-up replies."""
    file = ROOT / "benchmarks" / "peers" / "lm_eval_requests.py"
    spec = importlib.util.spec_from_file_location("lm_eval_requests", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def opened(name: str) -> SuiteTask:
    found = suite(str(FIXTURE / FILES[name]))
    (task,) = found.open(None, found.Options())
    return task


def requests(task: SuiteTask, example: Example) -> list[list[Any]]:
    """The arguments of what an example asks, as the harness has them."""
    if example.choices and not example.question:
        return [[choice] for choice in example.choices]
    if example.choices:
        return [[example.context(), choice] for choice in example.choices]
    assert task.generation is not None
    return [[example.context(), list(task.generation.stop), task.generation.max_new_tokens]]


def recorded(name: str) -> list[list[Any]]:
    """The harness's arguments, of generation only what greedy decoding heeds."""
    return [
        [args[0], args[1]["until"], args[1]["max_gen_toks"]] if isinstance(args[-1], dict) else args
        for args in RECORDED["requests"][name]
    ]


def reply(side: ModuleType, name: str, example: Example) -> Reply:
    number = int(example.id)
    if not example.choices:
        return Reply(text=side.text(name, number, example.references[0]))
    found = [side.likelihood(name, number, k) for k in range(len(example.choices))]
    return Reply(tuple(Likelihood(value, 1, greedy) for value, greedy in found))


@pytest.mark.parametrize("name", FILES)
def test_requests_are_letter_for_letter_those_of_the_harness(name: str) -> None:
    task = opened(name)
    assert [r for example in task.examples() for r in requests(task, example)] == recorded(name)


@pytest.mark.parametrize("name", FILES)
def test_scores_of_the_same_replies_are_those_of_the_harness(name: str, side: ModuleType) -> None:
    task = opened(name)
    judged = [task.judge(e, reply(side, name, e)).statistics for e in task.examples()]
    found = {
        key: float(task.reduce(key, np.mean([j[key] for j in judged], axis=0), len(judged)))
        * (100 if key in PERCENT else 1)
        for key in task.metrics
    }
    assert found == pytest.approx(RECORDED["scores"][name], abs=1e-9)


def test_an_installed_harness_still_says_what_was_recorded(
    side: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    monkeypatch.chdir(FIXTURE)
    found = json.loads(json.dumps(side.report(FIXTURE)))
    assert found["requests"] == RECORDED["requests"]
    assert found["scores"] == {
        name: pytest.approx(scores, abs=1e-9) for name, scores in RECORDED["scores"].items()
    }
