"""How much rounding a pass in bf16 may show."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.inference.padded_decoder import Way
from brulee.inference.padding_trial import way_of
from brulee.inference.trial import reads_streams
from brulee.models import fused_decoder, fused_trial
from brulee.models.attention import packs_exactly
from brulee.models.form_reading import read_form
from brulee.models.fused_decoder import FusedDecoder
from brulee.models.rounding_trial import (
    blocks_of,
    changed_by_rounding,
    coarsest,
    logits_only_round,
    only_round,
    roughened,
)

_FAMILIES = runpy.run_path(str(Path(__file__).parent / "families.py"))
make_family: Callable[..., PreTrainedModel] = _FAMILIES["make_family"]


def _never() -> list[float]:
    pytest.fail("nothing is to be explained")


@pytest.mark.parametrize(
    ("errors", "dtype", "right"),
    [
        ([1e-6, 9e-5], torch.float32, True),
        ([1e-6, 2e-4], torch.float32, False),
        ([0.01, 0.04, 0.3], torch.bfloat16, True),
    ],
)
def test_what_needs_no_explanation(errors: list[float], dtype: torch.dtype, right: bool) -> None:
    assert only_round(errors, dtype, _never) == right


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at", range(3))
def test_a_pass_that_gives_nan_in_one_of_its_texts_is_wrong(at: int, dtype: torch.dtype) -> None:
    errors = [1e-6] * 3
    errors[at] = math.nan
    assert not only_round(errors, dtype, lambda: [1.0])


def test_more_than_usual_is_explained_by_what_rounding_does_to_the_model() -> None:
    errors = [0.1, 0.2, 0.3]
    assert only_round(errors, torch.bfloat16, lambda: [0.01, 0.05, 0.4])
    assert not only_round(errors, torch.bfloat16, lambda: [0.01, 0.03, 0.4])


def test_layers_are_rounded_and_left_as_they_were() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    x = torch.randn(8, 64)
    state = torch.get_rng_state()
    one, four = (changed_by_rounding(some, lambda: layers(x)) for some in ([layers[3]], layers))
    assert one == pytest.approx(2**-8, rel=0.1)
    assert one < four < 4 * one
    assert not any(layer._forward_hooks for layer in layers)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.slow
def test_a_deep_model_with_random_weights_takes_the_fast_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_family("llama", num_hidden_layers=32).to(torch.bfloat16)
    form = read_form(model)
    assert form is not None
    found = FusedDecoder(model, form)
    assert sorted(fused_trial.errors_of(found, model))[2] > 0.05, "as one in bf16 that is deep"
    assert fused_decoder.fused_decoder(model) is not None
    # Read wrongly, it still does not.
    monkeypatch.setattr(fused_decoder, "form_is_right", lambda *_: True)
    wrong = replace(form, layers=tuple(replace(layer, scale=1.0) for layer in form.layers))
    monkeypatch.setattr(fused_decoder, "read_form", lambda _: wrong)
    assert fused_decoder.fused_decoder(model) is None


class _Stack(nn.Module):
    """Layers that make logits, each with a list of its own that holds no layer of the model."""

    def __init__(self, times: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.layers[0].parts = nn.ModuleList([nn.Identity()])
        self.times, self.kept = times, 0.0

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return 1 + self.times * (x - self.kept)


def test_layers_are_what_outermost_lists_hold() -> None:
    stack = _Stack()
    assert blocks_of(stack) == list(stack.layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_may_differ_by_rounding(dtype: torch.dtype) -> None:
    stack, x = _Stack(), torch.ones(4, 32)
    run = partial(stack, x)
    half, exact = dtype == torch.bfloat16, run()
    for error, right in {0.9e-3: True, 1.1e-3: half, 4.9e-2: half, 6e-2: False}.items():
        found = exact.clone()
        found[0, 0] += error * float(exact.abs().max())
        assert logits_only_round(found, exact, stack, run, dtype) == right, error
    assert logits_only_round(0 * exact, 0 * exact, stack, run, dtype)  # of a head of zeros


@pytest.mark.parametrize(
    ("times", "errors"), [(9.0, {0.2: True, 0.245: False}), (50.0, {0.245: True, 0.255: False})]
)
def test_logits_of_a_model_that_rounding_changes_much_may_differ_by_more(
    times: float, errors: dict[float, bool]
) -> None:
    """Up to a quarter of them: beyond it, those of a wrong pass may not differ more."""
    stack, x = _Stack(times), torch.ones(4, 32)
    stack.kept = (stack(x) - 1) / stack.times  # what remains is 1: all of it cancels
    run = partial(stack, x)
    off = float((roughened(blocks_of(stack), run) - 1).abs().max())
    assert off == pytest.approx(0.0053 * times, rel=0.01)
    for error, right in errors.items():
        assert logits_only_round(run() + error, run(), stack, run, torch.bfloat16) == right
        assert not logits_only_round(run() + error, run(), stack, run, torch.float32)
    explained = logits_only_round(run() + 0.255, run(), stack, run, torch.bfloat16, math.inf)
    assert explained == (5 * off > 0.255)


def test_a_pass_that_mixes_documents_is_found_where_rounding_chooses_experts() -> None:
    """Rounding changes MiniMax's logits by a third here: the experts of some tokens are close."""
    model = make_family("minimax").to(torch.bfloat16)
    assert not packs_exactly(model)
    assert not reads_streams(model)


def test_logits_in_fp32_are_rounded_as_their_model_is() -> None:
    """Nemotron H gives such logits in bf16, which once ruled out every way but reading anew."""
    model = make_family("nemotron-h").to(torch.bfloat16)
    logits = model(input_ids=torch.ones(1, 3, dtype=torch.long)).logits
    assert logits.dtype == torch.float32
    assert coarsest(model, logits) == torch.bfloat16
    assert way_of(model, pad_id=0) == Way()
