"""What keeps models of transformers from being trained, or from training as asked, is mended."""

from __future__ import annotations

from typing import Any, Final

import pytest
import torch
import transformers
from transformers import AutoModelForMultimodalLM, NllbMoeConfig, NllbMoeForConditionalGeneration

from brulee.models.mends import mend

SIZES: Final[dict[str, Any]] = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "head_dim": 8},
    "num_key_value_heads": 2,
}


def test_an_evaluation_leaves_no_capacity_to_nllbs_training() -> None:
    torch.manual_seed(0)
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 16}.items()
    }
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    config = NllbMoeConfig(
        **sides, **quiet, vocab_size=40, d_model=16, num_experts=2, encoder_sparse_step=1,
        decoder_sparse_step=1, encoder_layerdrop=0.0, decoder_layerdrop=0.0, moe_token_dropout=0.0,
    )  # fmt: skip
    model = NllbMoeForConditionalGeneration(config)
    mend(model)
    ids = torch.arange(4, 16)[None]

    def trained() -> torch.Tensor:
        model.train()
        logits: torch.Tensor = model(input_ids=ids, decoder_input_ids=ids).logits
        return logits

    before = trained()
    model.eval()
    model(input_ids=ids[:, :1], decoder_input_ids=ids[:, :1])
    assert torch.equal(trained(), before)


@pytest.mark.skipif(not hasattr(transformers, "Molmo2Config"), reason="a newer transformers has it")
def test_molmo_is_trained_on_text_alone() -> None:
    parts = {
        "text_config": {**SIZES, "num_hidden_layers": 1, "vocab_size": 40},
        "vision_config": {**SIZES, "num_hidden_layers": 2, "image_patch_size": 4},
        "adapter_config": {**SIZES, "text_hidden_size": 16, "vision_feature_layer": [0, 1]},
    }
    model = AutoModelForMultimodalLM.from_config(transformers.Molmo2Config(**parts))
    ids = torch.arange(5)[None]
    evaluated = model.eval()(input_ids=ids).logits
    mend(model)
    torch.testing.assert_close(model.train()(input_ids=ids).logits, evaluated)
