"""Tiny models of the families that the fused decoder knows, made so that every property matters.

Windows are shorter than the tests' documents, caps lower than many scores, and weights of norms
away from what they begin with.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.codegen import modeling_codegen
from transformers.models.gptj import modeling_gptj

from brulee.methods import build_method
from brulee.models.attention_kind import settle_attention
from brulee.recipe import MethodSpec

_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_KINDS = ["sliding_attention", "sliding_attention", "full_attention"]
_SLIDES: dict[str, Any] = {"sliding_window": 5, "layer_types": _KINDS}
_NO_DROPS: dict[str, Any] = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
# Not for a configuration to say.
_UNSAID: Any = object()
_FALCON: dict[str, Any] = {"head_dim": _UNSAID, "num_kv_heads": 4, "bias": False}
_NEO: dict[str, Any] = {
    "num_layers": 4,
    "num_heads": 4,
    "num_hidden_layers": _UNSAID,
    "initializer_range": 0.12,  # nothing divides its scores
}
_GEMMA4: dict[str, Any] = {
    "sliding_window": 5,
    "num_hidden_layers": 5,
    "layer_types": [*_KINDS, *_KINDS[1:]],
    "global_head_dim": 8,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": 300,
    "final_logit_softcapping": 5.0,
}
# Heads of 32 values, as wide as the loops in C need; values are narrower.
_LATENT: dict[str, Any] = {
    "head_dim": _UNSAID,
    "num_key_value_heads": 4,
    "q_lora_rank": 20,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_DENSE: dict[str, Any] = {"first_k_dense_replace": 3, "n_group": 1, "topk_group": 1}
_YARN: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 128,
        "mscale": 1.0,
        "mscale_all_dim": 0.8,
    }
}
# Only layers with a window turn, and their angles are those of three coordinates.
_NOPE: dict[str, Any] = {
    "full_attention": None,
    "sliding_attention": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
    },
}
_GROWING: dict[str, Any] = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "llama_4_scaling_beta": 0.5,
    "original_max_position_embeddings": 4,
}
# Where a state is normalised, rounding grows with the sizes of weights.
_DELTA: dict[str, Any] = {
    "initializer_range": 0.15,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "linear_conv_kernel_dim": 3,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_MOE: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_HALF_TURNED: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    }
}
_MAMBA: dict[str, Any] = {
    "mamba_n_heads": 8,  # twice as wide together as the stream of a twin that kept them
    "mamba_n_groups": 2,
    "mamba_d_head": "auto",
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
_GRANITE: dict[str, Any] = {
    **_MAMBA,
    "layer_types": _DELTA["layer_types"],
    "shared_intermediate_size": 48,
    "num_local_experts": 0,
    "residual_multiplier": 0.22,
    "embedding_multiplier": 6.0,
    "logits_scaling": 4.0,
    "attention_multiplier": 0.5,
}
# A kind of configuration, and what differs from its defaults.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5}),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "ministral": ("Ministral", _SLIDES),
    "gemma": ("Gemma", {}),
    "gemma2": (
        "Gemma2",
        {
            **_SLIDES,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 5.0,
            "query_pre_attn_scalar": 10,
        },
    ),
    "gemma3": ("Gemma3Text", {**_SLIDES, "query_pre_attn_scalar": 10}),
    "phi3": ("Phi3", {"sliding_window": 6}),
    "phi4": (
        "Phi3",
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.75,
            }
        },
    ),
    "granite": (
        "Granite",
        {
            "residual_multiplier": 0.22,
            "embedding_multiplier": 6.0,
            "logits_scaling": 4.0,
            "attention_multiplier": 0.5,
        },
    ),
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", _SLIDES),
    "glm": ("Glm", {}),
    "glm4": ("Glm4", {}),
    "ernie": ("Ernie4_5", {}),
    "helium": ("Helium", {}),
    "exaone4": ("Exaone4", {**_SLIDES, "sliding_window_pattern": 3}),
    "hunyuan": ("HunYuanDenseV1", {}),
    "arcee": ("Arcee", {}),
    "stablelm": ("StableLm", {"use_qkv_bias": True}),
    "stablelm-parallel": ("StableLm", {"use_parallel_residual": True}),
    "starcoder2": ("Starcoder2", {"sliding_window": 6, "residual_dropout": 0.0}),
    "nemotron": ("Nemotron", {}),
    "cohere": ("Cohere", {"logit_scale": 0.5}),
    "cohere2": ("Cohere2", {**_SLIDES, "logit_scale": 0.5}),
    "cohere-compass": ("CohereCompassText", {"layer_types": _KINDS, "rope_parameters": _NOPE}),
    "apertus": ("Apertus", {}),
    "vaultgemma": ("VaultGemma", {**_SLIDES, "attn_logit_softcapping": 3.0}),
    "hyperclovax": ("HyperCLOVAX", {"residual_multiplier": 0.3, "use_post_norm": True}),
    "gpt2": ("GPT2", _NO_DROPS),
    "gpt2-by-layer": (
        "GPT2",
        {**_NO_DROPS, "scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
    ),
    "gpt-bigcode": ("GPTBigCode", _NO_DROPS),
    "opt": ("OPT", {"dropout": 0.0, "ffn_dim": 48, "word_embed_proj_dim": _UNSAID}),
    "phi": ("Phi", {"partial_rotary_factor": 0.5}),
    "phi-head-norms": ("Phi", {"partial_rotary_factor": 0.5, "qk_layernorm": True}),
    "neox": ("GPTNeoX", {}),
    "neox-in-turn": ("GPTNeoX", {"use_parallel_residual": False}),
    "gptj": ("GPTJ", {**_NO_DROPS, "rotary_dim": 4}),
    "falcon": ("Falcon", _FALCON),
    "falcon-40b": (
        "Falcon",
        {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "falcon-in-turn": (
        "Falcon",
        {**_FALCON, "parallel_attn": False, "multi_query": False, "bias": True},
    ),
    "seed-oss": ("SeedOss", {"residual_dropout": 0.0, "attention_dropout": 0.0}),
    "deepseek2": ("DeepseekV2", {**_LATENT, **_DENSE, "q_lora_rank": None}),
    "deepseek3": ("DeepseekV3", {**_LATENT, **_DENSE, **_YARN, "attention_bias": True}),
    "minicpm3": ("MiniCPM3", {**_LATENT, "scale_emb": 6, "scale_depth": 0.9, "dim_model_base": 8}),
    "ministral3": ("Ministral3", {"rope_parameters": _GROWING}),
    "mimo2": (
        "MiMoV2Flash",
        {
            **_SLIDES,
            "head_dim": 32,
            "v_head_dim": 16,
            "mlp_layer_types": ["dense"] * 3,
            "attention_value_scale": 0.7,
        },
    ),
    "qwen3.5": ("Qwen3_5Text", {**_DELTA, **_HALF_TURNED}),
    "qwen3-next": (
        "Qwen3Next",
        {
            **{**_DELTA, **_HALF_TURNED, **_MOE},
            "initializer_range": 0.1,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3.5-moe": ("Qwen3_5MoeText", {**_DELTA, **_HALF_TURNED, **_MOE}),
    "afmoe": ("Afmoe", {**_SLIDES, **_MOE, "num_dense_layers": 3, "mup_enabled": True}),
    "laguna": (
        "Laguna",
        {
            **_SLIDES,
            **_MOE,
            "gating": "per-head",
            "initializer_range": 0.15,
            "num_attention_heads_per_layer": [4, 6, 4],
            "mlp_layer_types": ["dense"] * 3,
        },
    ),
    "lfm2": (
        "Lfm2",
        {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    ),
    "lfm2-moe": (
        "Lfm2Moe",
        {**_MOE, "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    ),
    "granite-hybrid": ("GraniteMoeHybrid", _GRANITE),
    "granite-hybrid-moe": ("GraniteMoeHybrid", {**_GRANITE, **_MOE, "num_local_experts": 4}),
    "bamba": ("Bamba", {**_MAMBA, "attn_layer_indices": [1]}),
    "jamba": (
        "Jamba",
        {
            **_MOE,
            **dict.fromkeys(("attn_layer_period", "expert_layer_period"), 3),
            **dict.fromkeys(("attn_layer_offset", "expert_layer_offset"), 1),
            **{"use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 4},
        },
    ),
    "olmo-hybrid": ("OlmoHybrid", {**_DELTA, "linear_num_value_heads": 2}),
    "codegen": ("CodeGen", {**_NO_DROPS, "rotary_dim": 4}),
    "gpt-neo": (
        "GPTNeo",
        {"attention_types": [[["global", "local"], 2]], "window_size": 5, **_NEO},
    ),
    "olmo": ("Olmo", {}),
    "olmo-clipped": ("Olmo", {"clip_qkv": 1.0}),
    "gemma4": ("Gemma4Text", {**_GEMMA4, "num_kv_shared_layers": 2}),
    "gemma4-moe": (
        "Gemma4Text",
        {
            **_GEMMA4,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 0,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 16,
        },
    ),
    "llama4": (
        "Llama4Text",
        {
            "num_hidden_layers": 4,
            "intermediate_size_mlp": 48,
            "interleave_moe_layer_step": 2,
            "num_local_experts": 4,
            "attention_chunk_size": 6,
            "floor_scale": 4,
            "attn_scale": 0.5,
        },
    ),
    "nanochat": ("NanoChat", {"final_logit_softcapping": 5.0}),
}

LATENT = ("deepseek2", "deepseek3", "minicpm3")
_WITH_STATES = (
    *("qwen3.5", "qwen3-next", "qwen3.5-moe", "lfm2", "lfm2-moe"),
    *("granite-hybrid", "granite-hybrid-moe", "bamba", "jamba", "olmo-hybrid"),
)
# What a method's refusal says, by family and method.
REFUSED = {
    **{(name, "prefix"): "does not keep keys and values" for name in _WITH_STATES},
    **{(name, "prefix"): "keys and values of different shapes" for name in (*LATENT, "mimo2")},
    ("granite-hybrid-moe", "bottleneck"): "adds up several feed-forwards",
}


def perturbed(model: PreTrainedModel, method: dict[str, Any]) -> PreTrainedModel:
    """The model with a method put on it whose values change what it computes."""
    draw = torch.Generator().manual_seed(1)
    for group in build_method(MethodSpec(**method)).attach(model).groups():
        for parameter in group.parameters:
            with torch.no_grad():  # in the open, as loading does: `.data` would hide it
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All gradients by name, taken off the model."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def make_family(name: str, **changes: Any) -> PreTrainedModel:
    """A fresh model in evaluation mode, in fp32."""
    kind, own = FAMILIES[name]
    files = {"GPTJ": modeling_gptj, "CodeGen": modeling_codegen}
    if kind in files and not hasattr(files[kind], f"{kind}RotaryEmbedding"):
        pytest.skip(f"this transformers writes {kind}'s attention in a way that is not taken")
    if not hasattr(transformers, f"{kind}Config"):
        pytest.skip("this transformers does not have the family yet")
    sizes = {**_SIZES, **own, **changes}
    given = {key: value for key, value in sizes.items() if own.get(key, value) is not _UNSAID}
    config = getattr(transformers, f"{kind}Config")(**given)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    scalars = [values for key, values in model.named_buffers() if key.endswith("layer_scalar")]
    with torch.no_grad():
        for values in (*(p for p in model.parameters() if p.ndim == 1), *scalars):
            values += 0.3 * torch.randn(values.shape)
    settle_attention(model)
    return model.eval()
