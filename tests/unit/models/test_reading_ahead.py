"""An encoder is no model that writes, though transformers loads it as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    FSMTConfig,
    FSMTForConditionalGeneration,
    PreTrainedModel,
    ProphetNetConfig,
    ProphetNetForConditionalGeneration,
    ReformerConfig,
    ReformerModelWithLMHead,
)

from brulee.errors import InputError
from brulee.models.loading import load_base
from brulee.models.reading_ahead import refuse_reading_ahead

_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "initializer_range": 0.25,
}
_XLM: dict[str, Any] = {"emb_dim": 16, "n_layers": 1, "n_heads": 2, "init_std": 0.25}
_XLM |= {"embed_init_std": 0.25}
_XLNET: dict[str, Any] = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 24}


_PROPHETNET: dict[str, Any] = {"vocab_size": 300, "hidden_size": 16, "init_std": 0.25}
_PROPHETNET |= {f"num_{part}coder_layers": 1 for part in ("en", "de")}
_PROPHETNET |= {f"num_{part}coder_attention_heads": 2 for part in ("en", "de")}
_PROPHETNET |= {f"{part}coder_ffn_dim": 24 for part in ("en", "de")}


def _encoder(kind: str, **changes: Any) -> PreTrainedModel:
    sizes = {"XLM": {"vocab_size": 300, "n_words": 300, **_XLM}, "XLNet": {**_SIZES, **_XLNET}}
    config = getattr(transformers, f"{kind}Config")(**{**sizes.get(kind, _SIZES), **changes})
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("Bert", '"is_decoder": true in its config.json'),
        ("Roberta", '"is_decoder": true in its config.json'),
        ("XLM", '"causal": true in its config.json'),
        ("XLNet", "only models that write from left to right"),
    ],
)
def test_what_attends_to_both_sides_is_refused(kind: str, advice: str) -> None:
    with pytest.raises(
        InputError, match=rf"^m: the logits of this {kind}\w+ depend .*; .*{advice}"
    ):
        refuse_reading_ahead(_encoder(kind), "m")


@pytest.mark.parametrize(
    ("kind", "changes"), [("Bert", {"is_decoder": True}), ("XLM", {"causal": True})]
)
def test_the_advice_makes_it_pass(kind: str, changes: dict[str, Any]) -> None:
    refuse_reading_ahead(_encoder(kind, **changes), "m")


@pytest.mark.parametrize("name", ["llama", "mistral", "mamba", "qwen3_5", "gemma3", "t5", "bart"])
def test_what_reads_from_left_to_right_passes(
    make_model: Callable[..., PreTrainedModel], name: str
) -> None:
    refuse_reading_ahead(make_model(name), "m")


def test_a_decoder_whose_positions_are_mixed_is_refused() -> None:
    torch.manual_seed(0)
    model = ProphetNetForConditionalGeneration(ProphetNetConfig(**_PROPHETNET)).eval()
    with pytest.raises(InputError, match=r"depend on the tokens .* from left to right can be used"):
        refuse_reading_ahead(model, "m")


def test_a_reformer_is_refused() -> None:
    """It reads from left to right, but its layers cannot be trained on a text of any length."""
    sizes: dict[str, Any] = {"attention_head_size": 8, "feed_forward_size": 24, "num_hashes": 1}
    sizes |= {"axial_pos_shape": [8, 8], "axial_pos_embds_dim": [8, 8], "num_buckets": 4}
    sizes |= {f"{kind}_attn_chunk_length": 8 for kind in ("local", "lsh")}
    config = ReformerConfig(**_SIZES, **sizes, attn_layers=["local", "lsh"], is_decoder=True)
    model = ReformerModelWithLMHead(config).eval()
    with pytest.raises(InputError, match=r"^m: Reformer is not supported: .* axial_pos_shape"):
        refuse_reading_ahead(model, "m")
    assert model.train()(torch.arange(64)[None]).logits.shape == (1, 64, 300)
    with pytest.raises(ValueError, match="axial_pos_shape"):
        model(torch.arange(32)[None])


def test_a_decoder_that_hides_padding_passes() -> None:
    """A padding token first would let all others be seen."""
    sizes: dict[str, Any] = {"d_model": 16, "init_std": 0.25, "pad_token_id": 0}
    for part in ("en", "de"):
        sizes |= {f"{part}coder_layers": 1, f"{part}coder_attention_heads": 2}
        sizes |= {f"{part}coder_ffn_dim": 24}
    vocabularies = {"src_vocab_size": 300, "tgt_vocab_size": 300, "langs": ["en", "de"]}
    torch.manual_seed(0)
    model = FSMTForConditionalGeneration(FSMTConfig(**sizes, **vocabularies)).eval()
    refuse_reading_ahead(model, "m")


def test_loading_refuses_it(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    _encoder("Bert").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="depend on the tokens"):
        load_base(str(tmp_path), torch.float32, torch.device("cpu"))


def test_what_reads_no_text_alone_is_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    """As those that draft tokens for another model, and are given its states."""

    def refuses(*_: Any) -> None:
        raise ValueError("inputs_embeds cannot be None")

    model = make_model("llama")
    model.model.register_forward_pre_hook(refuses)
    with pytest.raises(InputError, match=r"m: a Llama.* does not read text by itself, .* be None$"):
        refuse_reading_ahead(model, "m")


def test_one_text_that_rounding_changes_is_not_enough(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    """In a mixture of experts another expert may be chosen when more tokens are read."""
    model, seen = make_model("llama"), []

    def rounds(_: Any, __: Any, logits_BTV: torch.Tensor) -> torch.Tensor:
        seen.append(logits_BTV)
        return logits_BTV * 2 if len(seen) == 1 else logits_BTV

    model.lm_head.register_forward_hook(rounds)
    refuse_reading_ahead(model, "m")
    assert len(seen) == 4
