"""Names and layout of a model's tensors in llama.cpp, by architecture.

A GGUF file names an architecture, not a computation: it is right only if llama.cpp's code for that
name computes what the model does. Hence the short list; each was checked by reading a file back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig

from brulee.errors import InputError


@dataclass(frozen=True)
class Architecture:
    """How one transformers model type is written; `activation` is the one that llama.cpp assumes.

    `rotates_pairs`: llama.cpp's rotary embedding rotates adjacent values, transformers' the two
    halves of a head, so the rows of query and key weights are permuted. `conv1d`: weights (I, O).
    """

    name: str
    activation: str
    rotates_pairs: bool = False
    conv1d: bool = False


ARCHITECTURES = {
    "llama": Architecture("llama", "silu", rotates_pairs=True),
    "mistral": Architecture("llama", "silu", rotates_pairs=True),
    "qwen2": Architecture("qwen2", "silu"),
    "qwen3": Architecture("qwen3", "silu"),
    "gpt2": Architecture("gpt2", "gelu_new", conv1d=True),
}
_BIASES = ("attention_bias", "mlp_bias")
_TURNED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")  # those of GPT-2's that are Conv1D


def architecture_of(config: PretrainedConfig) -> Architecture:
    """How a model of this configuration is written.

    Raises InputError for an unsupported model type, and for a setting that llama.cpp's code for
    this architecture does not compute.
    """
    found = ARCHITECTURES.get(config.model_type)
    if found is None:
        raise InputError(
            f"a {config.model_type} model cannot be written as GGUF here; "
            f"valid: {', '.join(ARCHITECTURES)}."
        )
    activation = getattr(config, "hidden_act", None) or config.activation_function
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    window = getattr(config, "sliding_window", None)
    slides = window is not None and getattr(config, "use_sliding_window", True)
    unlike = {
        f"its activation is {activation} and not {found.activation}": activation
        != found.activation,
        f"its rotary positions are scaled ({rope})": rope != "default",
        f"it attends within {window} tokens": slides,
        # llama.cpp reads them, but other readers of GGUF would silently ignore them.
        "its linear maps have biases": any(getattr(config, name, False) for name in _BIASES),
    }
    for reason, applies in unlike.items():
        if applies:
            raise InputError(
                f"this {config.model_type} model cannot be written as GGUF here: {reason}."
            )
    return found


def namer(config: PretrainedConfig) -> Callable[[str], str]:
    """A function from a parameter's name in transformers to its name in GGUF.

    It raises InputError for a parameter that GGUF has no name for.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    wanted = architecture_of(config).name
    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == wanted)
    known = get_tensor_name_map(arch, config.num_hidden_layers)

    def name(parameter: str) -> str:
        found: str | None = known.get_name(parameter, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise InputError(f"{parameter}: GGUF has no name for it in a {wanted} model.")
        return found

    return name


def as_held(name: str, tensor: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """A parameter, by its GGUF name, in llama.cpp's layout: (O, I), rotary pairs adjacent."""
    architecture = architecture_of(config)
    if architecture.conv1d and name.endswith(".weight") and any(f".{t}." in name for t in _TURNED):
        return tensor.T
    return pairs_together(name, tensor, config)


def pairs_together(name: str, tensor: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """A query or key weight with its rows permuted so that rotary pairs are adjacent."""
    if not architecture_of(config).rotates_pairs:
        return tensor
    for part, heads in (
        ("attn_q", config.num_attention_heads),
        ("attn_k", config.num_key_value_heads),
    ):
        if f".{part}." in name:
            halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
            return halves.transpose(1, 2).reshape(tensor.shape)
    return tensor


def sizes(config: PretrainedConfig) -> dict[str, Any]:
    """A model's sizes in GGUF's metadata, by their key after the architecture's name."""
    if config.model_type == "gpt2":
        return {
            "context_length": config.n_positions,
            "embedding_length": config.n_embd,
            "feed_forward_length": config.n_inner or 4 * config.n_embd,
            "block_count": config.n_layer,
            "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": float(config.layer_norm_epsilon),
        }
    width = config.hidden_size // config.num_attention_heads
    head = getattr(config, "head_dim", None) or width
    found = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }
    # Without these keys, a reader assumes that a head is its share of the width.
    if head != width:
        found |= {"attention.key_length": head, "attention.value_length": head}
    return found
