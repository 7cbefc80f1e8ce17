"""Rows of models with recurrent states, or without a cache, are written as each is alone."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from brulee.inference import padded_decoder
from brulee.inference.engine import Engine
from brulee.inference.padded_decoder import PLAINEST, Way
from brulee.inference.padding_trial import way_of
from brulee.inference.sampling import Sampling

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
    "pad_token_id": None,  # or its embedding were nought
}
FAMILIES: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "n_groups": 1},
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
    },
    "lfm2": {"full_attn_idxs": [1]},
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32},
    "rwkv": {"attention_hidden_size": 32},
    "minimax": {  # whose cache is a class of its own
        "layer_types": ["linear_attention", "full_attention"],
        "num_local_experts": 4,
        "block_size": 8,
    },
}
RECURRENT: dict[str, Any] = {"layer_types": ["linear_attention"] * 2, "mamba_n_heads": 8}
RECURRENT |= {"mamba_d_head": 8, "mamba_d_state": 8, "num_local_experts": 0}
PROMPTS = [[7, 11, 5, 3, 9, 30, 41], [13], [60, 61, 62], [8, 44, 91], [2, 3]]
GREEDY = Sampling(max_new_tokens=10)


def _model(name: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    own = FAMILIES.get(name, {}) | changes
    config = transformers.AutoConfig.for_model(name, **(SIZES | own))
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 3.0  # so that what is read tells in what is written
    return model.eval()


def _ending_apart(model: PreTrainedModel) -> Engine:
    """An engine whose texts end at different tokens, so that rows are dropped one by one."""
    engine = Engine(model, [], 0)
    texts = [engine.generate([prompt], GREEDY)[0] for prompt in PROMPTS]
    return Engine(model, [texts[0][3], texts[2][6]], 0, like=engine)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_written_together_as_alone(name: str) -> None:
    model = _model(name)
    engine = _ending_apart(model)
    assert not engine.reads_streams
    alone = [engine.generate([prompt], GREEDY)[0] for prompt in PROMPTS]
    assert len({tuple(ids) for ids in alone}) > 3
    assert len({len(ids) for ids in alone}) > 1
    assert engine.generate(PROMPTS, GREEDY) == alone


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("name", FAMILIES)
def test_beams_take_their_states_along(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a model does that reads all of a row anew."""
    engine, beams = Engine(_model(name), [], 0), replace(GREEDY, beams=3)
    found = engine.generate(PROMPTS, beams)
    monkeypatch.setattr(padded_decoder, "cache_of", lambda _: None)
    expected = [engine.generate([prompt], beams)[0] for prompt in PROMPTS]
    assert found == expected
    assert found != [engine.generate([prompt], GREEDY)[0] for prompt in PROMPTS]


@pytest.mark.parametrize(("name", "right"), [("rwkv", False), ("lfm2", True)])
def test_whether_rows_are_padded_is_tried(name: str, right: bool) -> None:
    """RWKV reads padding as it does any token."""
    model = _model(name).train()
    assert way_of(model, 0).pads == right
    assert model.training


@pytest.mark.parametrize(
    ("name", "changes", "way"),
    [
        ("roberta", {"is_decoder": True, "pad_token_id": 0}, Way(pads=False, numbered=False)),
        ("xlstm", {"num_heads": 4}, PLAINEST),
        ("granitemoehybrid", {"num_key_value_heads": 4, **RECURRENT}, PLAINEST),
    ],
)
def test_a_text_is_written_as_it_is_read(name: str, changes: dict[str, Any], way: Way) -> None:
    """RoBERTa's first position is 1 here; the others' caches raise an error."""
    model = _model(name, **changes)
    engine = Engine(model, [], 0)
    assert engine.way == way
    for prompt, written in zip(PROMPTS, engine.generate(PROMPTS, GREEDY), strict=True):
        text = torch.tensor([[*prompt, *written]])
        with torch.no_grad():
            read = model(input_ids=text, use_cache=False).logits[0].argmax(-1).tolist()
        assert read[len(prompt) - 1 : -1] == written


def test_a_model_that_takes_no_padding_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("lfm2")
    alone = [Engine(model, [], 0).generate([prompt], GREEDY)[0] for prompt in PROMPTS]
    forward = model.forward

    @functools.wraps(forward)  # its signature names the cache
    def refusing(*args: Any, attention_mask: torch.Tensor | None = None, **more: Any) -> Any:
        if attention_mask is not None and not attention_mask.all():
            raise RuntimeError("The size of tensor a (22) must match the size of tensor b (11)")
        return forward(*args, attention_mask=attention_mask, **more)

    monkeypatch.setattr(model, "forward", refusing)
    engine = Engine(model, [], 0)
    assert not engine.way.pads
    assert engine.generate(PROMPTS, GREEDY) == alone


@pytest.mark.parametrize("context", [5, 6, 14])
def test_a_model_of_a_short_context_is_opened(context: int) -> None:
    """The trial read fifteen tokens, which is more than such a model has positions for."""
    model = _model("biogpt", max_position_embeddings=context)
    engine = Engine(model, [], 0)
    assert (engine.reads_streams, engine.way.pads) == (False, context > 5)
    prompts = [list(range(7, 7 + n)) for n in range(1, context)]
    alone = [engine.generate([prompt], GREEDY)[0] for prompt in prompts]
    assert engine.generate(prompts, GREEDY) == alone
