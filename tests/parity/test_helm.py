"""HELM's prompts, drawn examples included, against those that crfm-helm makes of the same files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from brulee.evaluation.suites.helm import HELM, Options
from brulee.evaluation.tasks import SuiteTask

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDED = json.loads((FIXTURES / "helm_prompts.json").read_text())["prompts"]
SEPARATE = ("hellaswag", "openbookqa")  # a prompt of theirs holds its option


def task(name: str, joint: bool) -> SuiteTask:
    options = Options(
        subjects=["abstract_algebra", "us_foreign_policy"],
        perturb=["none"],
        confidence=False,
        method="joint" if joint else "helm",
    )
    tasks = {t.name: t for t in HELM().open(FIXTURES / "helm", options)}
    return tasks[f"helm/{name}"]


@pytest.mark.parametrize("name", RECORDED)
def test_every_prompt_is_helms_word_for_word(name: str) -> None:
    joint = name.endswith("-joint")
    examples = task(name.removesuffix("-joint"), joint).examples()
    prompts = [e.context() for e in examples]
    if name in SEPARATE:
        asked = [e for e in examples if e.context() != "Answer:"]
        prompts = [e.context() + choice for e in asked for choice in e.choices]
    assert len(prompts) == RECORDED[name]["requests"]
    digest = hashlib.sha256("\0".join(prompts).encode()).hexdigest()
    assert digest == RECORDED[name]["sha256"]
