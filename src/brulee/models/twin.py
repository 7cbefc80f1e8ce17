"""A twin: a small fp32 model of a model's class that uses every property of its architecture.

A short document does not show a sliding window, an untrained model does not show a cap on scores,
and bf16 does not show differences smaller than its rounding. A twin has the model's configuration
except for its sizes: few heads and layers, a window of a few tokens. Its random weights make scores
large, and give each value its own gain in norms, so that mixed-up values show.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from brulee.models.layer_parts import attention_in, attention_of, head_width, layers_of, mixes
from brulee.models.text_part import text_class

WINDOW = 5  # tokens
HEADS = 2
CLIP = 1.0  # of queries, keys and values, so low that many are clipped
_VOCABULARY = 64
_PAIR_LAYERS = 2
_PAIR_DEPTHS = ("num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
_PAIR_HEADS = ("num_heads", "encoder_attention_heads", "decoder_attention_heads")
_PAIR_INNER = ("d_ff", "encoder_ffn_dim", "decoder_ffn_dim")
_EXPERTS = 16
_AS_IT_IS = {"_attn_implementation": "eager", "dtype": torch.float32}
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads")
_INNER = ("intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size", "n_inner")
_OF_EXPERTS = (  # widths
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
)
_RANKS = ("q_lora_rank", "kv_lora_rank")  # of latent attention; none for queries by one map
# Names of dropout probabilities in decoders' configurations.
_DROPS = (
    *("attention_dropout", "attn_pdrop", "resid_pdrop", "residual_dropout"),
    *("dropout", "hidden_dropout", "embd_pdrop", "embedding_dropout"),
    *("resid_dropout", "embed_dropout"),
)
# Heads of a state space, in groups; of linear attention, those of keys and of values.
_STATE_HEADS = 4
_STATE_GROUPS = ("mamba_n_groups", "n_groups")
_LINEAR_HEADS = ("linear_num_key_heads", "linear_num_value_heads")
# Limits beyond which a document is attended to differently.
_REACHES = ("sliding_window", "attention_chunk_size", "floor_scale", "window_size")
_CLIPS = ("clip_qkv",)
_SHARES = "num_kv_shared_layers"


def drops(model: PreTrainedModel) -> list[str]:
    """The keys of a decoder's configuration with a non-zero dropout probability."""
    return [key for key in _DROPS if getattr(model.config.get_text_config(), key, None)]


def twin_of(
    model: PreTrainedModel, layers: int, dropped: str = "", heads: int = HEADS
) -> PreTrainedModel | None:
    """The twin of a decoder, on the CPU, in training mode; None if the class cannot be that small.

    It has as many layers as `layers`, of the kinds of the model's first ones, `heads` as wide as
    the model's, and is small otherwise. Its dropout probabilities are 0, except for that of the key
    `dropped`, which is 1. It is in training mode so that any other dropout is noticed. Does not
    change the state of the random number generator.
    """
    twin = _built(model, lambda: _shrunk(model, layers, dropped, heads))
    return None if twin is None else twin.train()


def pair_twin_of(model: PreTrainedModel) -> PreTrainedModel | None:
    """The twin of an encoder-decoder, on the CPU, in evaluation mode; None as in `twin_of`.

    It has two layers in each stack, and heads as wide as the model's.
    """
    twin = _built(model, lambda: _shrunk_pair(model))
    return None if twin is None else twin.eval()


def _built(
    model: PreTrainedModel, config: Callable[[], PretrainedConfig]
) -> PreTrainedModel | None:
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        try:
            twin = text_class(model)(config())
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError):
            return None
        _draw(twin.float())
    return twin


def _shrunk_pair(model: PreTrainedModel) -> PretrainedConfig:
    config = copy.deepcopy(model.config)
    heads, own = config.num_attention_heads, getattr(config, "d_kv", None)
    width = int(own or config.hidden_size // heads)
    _change(
        config,
        {
            **dict.fromkeys(_PAIR_DEPTHS, _PAIR_LAYERS),
            **dict.fromkeys(_PAIR_HEADS, 2),
            **dict.fromkeys(_PAIR_INNER, 4 * width),
            # In T5, heads x head width need not equal the model width.
            "d_model": 3 * width if own else 2 * width,
            **dict.fromkeys(("vocab_size", "decoder_vocab_size"), _VOCABULARY),
            "max_position_embeddings": _VOCABULARY,
            "pad_token_id": 0,
            "decoder_start_token_id": 0,
            **_AS_IT_IS,
        },
    )
    return config


def _shrunk(model: PreTrainedModel, layers: int, dropped: str, heads: int) -> PretrainedConfig:
    config = copy.deepcopy(model.config.get_text_config())
    by_layer = config.to_dict().get("per_layer_config")
    if by_layer:
        config.per_layer_config = None
    depth = config.num_hidden_layers
    width = _width(model, config)
    if width is None:
        raise ValueError("no layer has attention")
    keys = [getattr(config, name) for name in _KEY_HEADS if hasattr(config, name)]
    grouped = config.num_attention_heads > max([n for n in keys if n], default=1)
    changes: dict[str, Any] = {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **dict.fromkeys(_KEY_HEADS, 1 if grouped else heads),
        **dict.fromkeys(("hidden_size", "word_embed_proj_dim"), heads * width),
        **dict.fromkeys(_INNER, 3 * width),
        **dict.fromkeys(_OF_EXPERTS, width),
        **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), _VOCABULARY),
        "pad_token_id": None,
        **{key: float(key == dropped) for key in drops(model)},
        **_AS_IT_IS,
    }
    for key, value in vars(config).items():
        if isinstance(value, list) and len(value) == depth:  # one for each layer
            changes[key] = value[:layers]
    changes |= _of_states(config, width)
    changes |= {key: WINDOW for key in _REACHES if getattr(config, key, None)}
    changes |= {key: CLIP for key in _CLIPS if getattr(config, key, None)}
    shared = getattr(config, _SHARES, None)
    if shared:  # the last layers' number
        changes[_SHARES] = max(0, shared - (depth - layers))
    counts = {key: getattr(config, key, None) for key in _COUNTS}
    changes |= {key: min(_EXPERTS, count) for key, count in counts.items() if count}
    changes |= {key: min(rank, width) for key in _RANKS if (rank := getattr(config, key, None))}
    _change(config, changes)
    if by_layer:
        config.per_layer_config = {
            int(at): {key: changes.get(key, value) for key, value in own.items()}
            for at, own in by_layer.items()
            if int(at) < layers
        }
    return config


def _of_states(config: PretrainedConfig, width: int) -> dict[str, Any]:
    """The sizes of state spaces and linear attention, which have to fit the model's width."""
    expand = getattr(config, "mamba_expand", None) or 2
    inner = int(expand * 2 * width)
    groups = {key: getattr(config, key, None) or 1 for key in _STATE_GROUPS}
    keys, values = (getattr(config, key, None) or 1 for key in _LINEAR_HEADS)
    of_linear = zip(_LINEAR_HEADS, (2, 2 * (values // keys)), strict=True)
    return {
        **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), _STATE_HEADS),
        **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), inner // _STATE_HEADS),
        "mamba_d_ssm": inner,
        **{key: min(_STATE_HEADS // 2, count) for key, count in groups.items()},
        **dict.fromkeys(("mamba_chunk_size", "chunk_size"), _STATE_HEADS),
        "linear_num_heads": 2,
        "linear_head_dim": width,
        **dict(of_linear),
    }


def _width(model: PreTrainedModel, config: PretrainedConfig) -> int | None:
    """The width of heads in the first layer that has attention; None without any."""
    for at, layer in enumerate(layers_of(model)[: config.num_hidden_layers]):
        name = attention_of(layer)
        if name and not mixes(name, config, at):
            return head_width(attention_in(layer, name))
    return None


def _change(config: PretrainedConfig, changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if hasattr(config, key):
            setattr(config, key, value)
    inner = getattr(config, "attn_config", None)  # MPT
    for key in _CLIPS:
        if getattr(inner, key, None):
            setattr(inner, key, CLIP)
    if getattr(config, "alibi", False):
        config._attn_implementation = "sdpa"  # "eager" adds the bias of scores twice (Falcon)
    if hasattr(config, "quantization_config"):
        del config.quantization_config


@torch.no_grad()
def _draw(twin: PreTrainedModel) -> None:
    """Draw matrices that scale activations by 1.5; vary norms and biases around initial values."""
    embedding = twin.get_input_embeddings().weight
    for parameter in twin.parameters():
        drawn = torch.randn(parameter.shape)
        if parameter is embedding:
            parameter.copy_(drawn)
        elif parameter.ndim > 1:
            parameter.copy_(1.5 * drawn / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.3 * drawn)
    for layer in layers_of(twin):
        for values in layer.buffers(recurse=False):
            if values.is_floating_point():
                values.add_(0.3 * torch.randn(values.shape))
