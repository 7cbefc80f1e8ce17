"""Our model in lm-evaluation-harness answers what the harness's own backend answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from brulee.errors import InputError
from brulee.evaluation.lm_eval_model import BruleeLM

CONTEXTS = ["The guest could not check in ", "Summarise the conversation", "", "Which of these"]
TAILS = [" because", " the room was not ready", "in one sentence."]


@pytest.fixture(scope="module")
def models(tiny_model_folder: Path) -> tuple[Any, Any]:
    theirs = HFLM(pretrained=str(tiny_model_folder), device="cpu", dtype="float32", batch_size=3)
    return BruleeLM(str(tiny_model_folder), precision="float32"), theirs


def _asked(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, a, i) for i, a in enumerate(arguments)]


def test_likelihoods(models: tuple[Any, Any]) -> None:
    pairs = [(context, tail) for context in CONTEXTS for tail in TAILS]
    ours, theirs = (m.loglikelihood(_asked("loglikelihood", list(pairs))) for m in models)
    assert [g for _, g in ours] == [g for _, g in theirs]
    assert [p for p, _ in ours] == pytest.approx([p for p, _ in theirs], abs=1e-4)


def test_long_texts(models: tuple[Any, Any]) -> None:
    texts = [("The parcel was sent by express. " * n,) for n in (1, 30, 80)]
    ours, theirs = (
        m.loglikelihood_rolling(_asked("loglikelihood_rolling", list(texts))) for m in models
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_writing(models: tuple[Any, Any]) -> None:
    how = {"until": ["e"], "max_gen_toks": 12, "do_sample": False}
    requests = [(context, how) for context in CONTEXTS if context]
    ours, theirs = (m.generate_until(_asked("generate_until", list(requests))) for m in models)
    assert ours == theirs


def test_an_unknown_setting_is_refused(models: tuple[Any, Any]) -> None:
    request = _asked("generate_until", [("a", {"until": ["e"], "top_k": 4})])
    with pytest.raises(InputError, match="top_k"):
        models[0].generate_until(request)
