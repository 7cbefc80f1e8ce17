"""A training says whether experts and routers are tuned, and what it leaves out."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from brulee.methods import build_method
from brulee.pipeline.experts_note import ExpertsNote
from brulee.recipe import MethodSpec

_FOUND = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))
make_experts: Callable[..., PreTrainedModel] = _FOUND["make_experts"]


def _said(model: PreTrainedModel, **method: Any) -> str | None:
    experts = ExpertsNote(model)
    build_method(MethodSpec(**method)).attach(model)
    return experts.sentence(method["name"])


@pytest.mark.parametrize(
    ("method", "ends"),
    [
        (
            {"name": "lora"},
            "stay as they are (method.target: [all-linear, experts] tunes them); its routers stay "
            "as they are.",
        ),
        ({"name": "lora", "target": "experts"}, "are tuned; its routers stay as they are."),
        (
            {"name": "lora", "target": ["experts", "router"]},
            "are tuned; its routers are tuned; the loss that balances them (router_aux_loss_coef) "
            "is not added.",
        ),
        (
            {"name": "selective", "train": "norms"},
            "stay as they are; its routers stay as they are.",
        ),
        (
            {"name": "full"},
            "are tuned; its routers are tuned; the loss that balances them (router_aux_loss_coef) "
            "is not added.",
        ),
    ],
    ids=str,
)
def test_what_is_tuned_is_said(method: dict[str, Any], ends: str) -> None:
    begins = (
        "the model has 8 experts per layer, of which a token uses 2; they are 49% of its "
        "parameters and "
    )
    assert _said(make_experts("qwen3"), **method) == begins + ends


def test_a_loss_of_balance_that_the_model_asks_for_is_said_to_be_left_out() -> None:
    said = _said(make_experts("qwen3", output_router_logits=True), name="lora")
    assert said is not None
    assert said.endswith("routers stay as they are; the loss that balances them "
                         "(router_aux_loss_coef) is not added.")  # fmt: skip


def test_nothing_is_said_of_other_models(make_model: Callable[..., PreTrainedModel]) -> None:
    assert _said(make_model("llama"), name="lora") is None
