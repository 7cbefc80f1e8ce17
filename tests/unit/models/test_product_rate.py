"""The operations counted for a token are those PyTorch counts."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from brulee.models.loading import Base, load_base
from brulee.models.product_rate import product_rate, training_operations

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HAS = importlib.util.find_spec("bitsandbytes") is not None


@pytest.mark.parametrize("trained", [True, False])
def test_operations_are_those_of_the_linear_maps(
    make_model: Callable[..., PreTrainedModel], trained: bool
) -> None:
    model = make_model("llama")
    for parameter in model.parameters():
        parameter.requires_grad_(trained)
    hidden = model.get_input_embeddings()(torch.arange(5, 12)[None]).detach().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=hidden).logits.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    linear = sum(count for operation, count in counts.items() if str(operation) == "aten.mm")
    assert training_operations(model, 7, 7) == linear


@pytest.mark.parametrize("name", ["t5", "t5-gated", "bart"])
def test_of_an_encoder_decoder_a_token_goes_through_one_stack(
    name: str, make_model: Callable[..., PreTrainedModel]
) -> None:
    """Seven are read, three written; keys and values across are made of what was read."""
    model = make_model(name)
    embed = model.get_input_embeddings()
    read, written = (embed(torch.arange(5, 5 + n)[None]).detach().requires_grad_() for n in (7, 3))
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=read, decoder_inputs_embeds=written).logits.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    maps = ("aten.mm", "aten.addmm")
    linear = sum(count for operation, count in counts.items() if str(operation) in maps)
    assert training_operations(model, 10, 3) == linear


def test_a_tied_head_counts_for_learned_tokens_only(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    model = make_model("llama", tie_word_embeddings=True).requires_grad_(False)
    one_more = training_operations(model, 7, 3) - training_operations(model, 7, 2)
    assert one_more == 2 * 2 * 300 * 32


@pytest.mark.skipif(not HAS, reason="bitsandbytes is not installed")
def test_four_bit_maps_count_for_all_their_values(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = make_base("llama", hidden_size=128, intermediate_size=256)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    kinds = (None, "nf4")
    cpu = torch.device("cpu")
    plain, held = (load_base(str(tmp_path), torch.float32, cpu, quantise=k).model for k in kinds)
    counts = [training_operations(m.requires_grad_(False), 7, 3) for m in (plain, held)]
    assert counts[0] == counts[1]


def test_the_rate_is_a_number_of_operations_a_second() -> None:
    assert 1e8 < product_rate(torch.float32, torch.device("cpu")) < 1e15
