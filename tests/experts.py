"""Tiny mixtures of experts of many families, in fp32, whose routers tell tokens apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from brulee.models.loading import Base

_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EIGHT = {"moe_intermediate_size": 16, "intermediate_size": 48, "num_experts_per_tok": 2}
_FOUR = {"num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED = {**_EIGHT, "n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1}
_LATENT = {
    **_ROUTED,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
# A kind of configuration, and what differs from its defaults.
EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3Moe", {**_EIGHT, "head_dim": 8, "num_experts": 8, "norm_topk_prob": True}),
    "qwen2": ("Qwen2Moe", {**_EIGHT, "num_experts": 8, "shared_expert_intermediate_size": 24}),
    "mixtral": ("Mixtral", _FOUR),
    "olmoe": ("Olmoe", {"num_experts": 8, "num_experts_per_tok": 2}),
    "gpt-oss": ("GptOss", {**_FOUR, "head_dim": 8, "sliding_window": 5, "rope_parameters": None}),
    "granite": ("GraniteMoe", _FOUR),
    "deepseek2": ("DeepseekV2", _LATENT),
    "deepseek3": ("DeepseekV3", _LATENT),
    "ernie": (
        "Ernie4_5_Moe",
        {**_EIGHT, "moe_num_experts": 8, "moe_k": 2, "moe_num_shared_experts": 1},
    ),
    "glm4": ("Glm4Moe", {**_ROUTED, "head_dim": 8}),
    "phi": ("Phimoe", _FOUR),
    "hunyuan": ("HunYuanMoEV1", {"num_experts": 4, "moe_topk": 2, "head_dim": 8}),
    "llama4": ("Llama4Text", {"num_local_experts": 4, "head_dim": 8, "intermediate_size_mlp": 24}),
}


def make_experts(name: str, **changes: Any) -> PreTrainedModel:
    """A fresh model in evaluation mode, the same each time."""
    kind, own = EXPERTS[name]
    config = getattr(transformers, f"{kind}Config")(**{**_SIZES, **own, **changes})
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def as_base(model: PreTrainedModel, name: str) -> Base:
    """With no tokenizer, which nothing here asks for."""
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    return Base(model, tokenizer, name, "0" * 64, "causal", Path())
