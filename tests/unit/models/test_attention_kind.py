"""A model is computed by an attention that is right for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from brulee.models.attention_kind import settle_attention

Make = Callable[..., PreTrainedModel]


def _kinds(model: PreTrainedModel) -> set[str]:
    configs = (getattr(module, "config", None) for module in model.modules())
    return {c._attn_implementation for c in configs if c is not None}


def _use(model: PreTrainedModel, kind: str) -> None:
    for module in model.modules():
        if (config := getattr(module, "config", None)) is not None:
            config._attn_implementation = kind


def test_a_cap_is_left_to_the_models_own() -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}
    model = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, attn_logit_softcapping=3.0))
    _use(model, "sdpa")
    settle_attention(model)
    assert _kinds(model) == {"eager"}


@pytest.mark.parametrize(("leaves_out", "kept"), [(False, "sdpa"), (True, "eager")])
def test_biases_are_tried(
    make_model: Make, monkeypatch: pytest.MonkeyPatch, leaves_out: bool, kept: str
) -> None:
    model = make_model("t5")
    _use(model, "eager")
    ids, own = torch.arange(5, 25)[None], model.config
    expected = model(input_ids=ids, decoder_input_ids=ids).logits
    right: Any = ALL_ATTENTION_FUNCTIONS["eager" if "eager" in ALL_ATTENTION_FUNCTIONS else "sdpa"]

    def without_biases(*args: Any, **options: Any) -> Any:
        if leaves_out:
            options["position_bias"] = None
        return right(*args, **options)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", without_biases)
    _use(model, "sdpa")
    settle_attention(model)
    assert _kinds(model) == {kept} == {own._attn_implementation}
    torch.testing.assert_close(
        model(input_ids=ids, decoder_input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4
    )


def test_others_keep_theirs(make_model: Make) -> None:
    model = make_model("llama")
    _use(model, "sdpa")
    settle_attention(model)
    assert _kinds(model) == {"sdpa"}
