"""Tiny models with random weights, of every model type of transformers that writes text.

A model type's configuration is made small by the names of its attributes; what a type needs beside
that stands in `tiny_exceptions.py`. Weights are drawn so large that tokens are told apart and
attention is far from uniform: with transformers' own, a model that mixes documents looks right.
"""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any, Final

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from tiny_exceptions import EXCEPTIONS, LEFT_OUT
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

VOCABULARY: Final = 300
DECODER: Final = ":decoder"  # a model type told to read from left to right
MOST_PARAMETERS: Final = 8_000_000
# The first whose pattern is all of an attribute's name. A larger number becomes the size, and also
# a smaller one if it is a number of layers.
SIZES: Final[tuple[tuple[str, int | float], ...]] = (
    (r".*vocab_size.*", VOCABULARY),
    (
        r"num_kv_heads?|.*num_key_value_heads|multi_query_group_num|mamba_n_groups|n_groups"
        r"|num_key_value_groups",
        2,
    ),
    (r".*num_attention_heads|n_heads?|num_heads|(.*_)?attention_heads|num_mem_heads", 4),
    (r"qk_head_dim", 16),
    (r"(.*_)?head_dim|d_kv|kv_channels|query_pre_attn_scalar", 8),
    (r".*lora_rank", 8),
    (r"index_n_heads", 16),
    (r"linear_num_value_heads", 4),
    (r"linear_num_key_heads", 2),
    (
        r"(.*_)?hidden_size|d_model|n_embd|dim|embed_dim|embedding_size|word_embed_proj_dim"
        r"|projection_dim|hidden_dim|embedding_dim|emb_dim|output_dim|projector_hidden_dim"
        r"|lru_width",
        32,
    ),
    (r"moe_.*intermediate.*|expert_ffn_hidden_size|.*expert.*intermediate_size", 24),
    (
        r".*intermediate_size|.*intermediate_dim|n_inner|d_ff|.*ffn_dim|.*ffn_hidden_size"
        r"|inner_dim|d_inner|(.*_)?ffn_size|mlp_dim",
        48,
    ),
    (
        r"(.*_)?num_hidden_layers|n_layers?|(.*_)?num_layers|encoder_layers|decoder_layers"
        r"|num_.*_layers|encoder_n_layers|depth",
        2,
    ),
    (r"(.*_)?num_experts|n_routed_experts|num_local_experts|num_routed_experts", 4),
    (r"num_experts_per_tok.*|top_k|moe_topk|moe_k|topk|.*experts_per_tok.*|moe_top_k", 2),
    (r"n_group|topk_group|n(um)?_expert_groups?.*|num_limited_groups", 1),
    (r"n_shared_experts|(moe_)?num_shared_experts", 1),
    (r"first_k_dense.*|moe_layer_start_index", 1),
    (
        r"max_position_embeddings|n_positions|n_ctx|max_seq(uence)?_len(gth)?|context_length"
        r"|max_source_positions|max_target_positions|seq_length|model_max_length",
        256,
    ),
    (r"sliding_window(_size)?|attention_window_size|local_attention|window_size", 6),
    (r"attention_chunk_size|chunk_size|mamba_chunk_size", 8),
    (r"image_size", 16),
    (r"patch_size|num_mel_bins|feature_size", 8),
    (r"(ssm_)?state_size|(mamba_)?d_state", 8),
    (r"n_mamba_heads|mamba_n_heads|mamba_num_heads", 8),
    (r"mamba_d_head|mamba_headdim", 8),
    (r"mamba_d_ssm", 64),
    (r"mamba_dt_rank|time_step_rank|hidden_size_per_layer_input|index_topk", 4),
    (r"num_kv_shared_layers|num_nextn_predict_layers|.*mtp.*layers|mtp_num_.*", 0),
    (r".*(dropout|dropout_prob|pdrop|layerdrop|dropout_p|drop_rate|dropout_rate)", 0.0),
    (r"jitter_noise|drop_path_rate", 0.0),
    (r"initializer_range|init_std|initializer_factor|init_method_std", 0.1),
)
_TOKENS: Final = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers")
_WHOLE: Final = modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
_CAUSAL: Final = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
_PAIR: Final = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
_SWITCHES: Final = ("is_decoder", "causal")
_EITHER_WAY: Final = ("gpt_neox", "gpt_neox_japanese", "trocr")  # from left to right, if off too


def keys() -> list[str]:
    """The model types, and with `:decoder` those that can be told to read from left to right.

    These are encoders, and the decoders of encoder-decoders.
    """
    types = dict.fromkeys([*_CAUSAL, *_PAIR, *_WHOLE])
    return [*types, *(f"{name}{DECODER}" for name in _CAUSAL if _switched(name))]


def _switched(name: str) -> dict[str, Any]:
    """Values of a configuration that make its model a decoder; {} if it is one."""
    kind = CONFIG_MAPPING[name]
    # Not instances: some cannot be made without arguments.
    values = {field: getattr(kind, field, None) for field in ("is_encoder_decoder", *_SWITCHES)}
    if values["is_encoder_decoder"]:
        return {"is_decoder": True, "is_encoder_decoder": False}
    off = [switch for switch in _SWITCHES if values[switch] is False]
    return {switch: True for switch in off if name not in _EITHER_WAY}


def config_of(key: str) -> PretrainedConfig:
    """The small configuration of a model type."""
    name, _, decoder = key.partition(":")
    own = copy.deepcopy(EXCEPTIONS.get(name, {}))
    if decoder:
        own |= _switched(name)
    kind: Any = CONFIG_MAPPING[name]
    config: PretrainedConfig = kind(**shrunk(kind, own))
    return config


def model_of(key: str) -> PreTrainedModel:
    """A model of the type, whole if it has several parts, in evaluation mode.

    Raises ValueError if it is not tiny, and what transformers raises for a configuration that does
    not fit together.
    """
    config = config_of(key)
    kind = getattr(transformers, _class_name(key.partition(":")[0], config.is_encoder_decoder))
    torch.manual_seed(0)
    model: PreTrainedModel = kind._from_config(config)
    count = sum(p.numel() for p in model.parameters())
    if count > MOST_PARAMETERS:
        name, largest = max(model.named_parameters(), key=lambda found: found[1].numel())
        raise ValueError(f"{count / 1e6:.0f} million parameters, as {name} {tuple(largest.shape)}")
    model.config.architectures = [kind.__name__]
    enliven(model)
    return model.eval()


def _class_name(name: str, pair: bool) -> str:
    lists = (_PAIR, _WHOLE, _CAUSAL) if pair else (_WHOLE, _CAUSAL, _PAIR)
    found: str = next(names[name] for names in lists if name in names)
    # Whisper and MusicGen are listed as their decoders alone.
    return found.replace("ForCausalLM", "ForConditionalGeneration") if pair else found


def shrunk(kind: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Arguments that make a small configuration of a class; `own` are those of exceptions."""
    values = vars(_default(kind, own))
    parts: dict[str, Any] = getattr(kind, "sub_configs", None) or {}
    names = {*values, *inspect.signature(kind.__init__).parameters}
    names |= set(getattr(kind, "__dataclass_fields__", ()))
    names -= {"self", "kwargs", "args", *parts}
    given: dict[str, Any] = {}
    for name in sorted(n for n in names if not n.startswith("_")):
        given |= _small(name, values.get(name))
    for name in parts:
        part = values.get(name)
        if part is None or isinstance(part, dict):
            continue
        given[name] = shrunk(type(part), own.pop(name, {}))
        given[name].setdefault("model_type", type(part).model_type)
    rope = values.get("rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in rope:
        given["rope_parameters"] = {**rope, "mrope_section": [2, 1, 1]}
    if "layer_types" in given:
        given |= {name: len(given["layer_types"]) for name in _LAYERS if name in names}
    if "kv_lora_rank" in values and "num_key_value_heads" in given:
        given["num_key_value_heads"] = 4  # latent attention has keys for each query head
    given |= own
    return {name: value for name, value in given.items() if value != LEFT_OUT}


def _default(kind: Any, own: dict[str, Any]) -> PretrainedConfig:
    try:
        config: PretrainedConfig = kind()
    except StrictDataclassError:  # drafters of Gemma 4 need values that are not the default
        config = kind(**copy.deepcopy(own))
    return config


def _small(name: str, value: Any) -> dict[str, Any]:
    """The small value of an attribute that has `value`; {} to leave it."""
    if name in _TOKENS:
        return {name: _TOKENS[name]}
    if name == "decoder_start_token_id":
        return {name: value if value is not None and value < VOCABULARY else 2}
    if value is None:
        missing = {"head_dim": 8, "num_key_value_heads": 2}
        return {name: missing[name]} if name in missing else {}
    if name == "layer_types" and isinstance(value, list | tuple) and value:
        distinct = list(dict.fromkeys(value))
        return {name: distinct if len(distinct) > 1 else distinct * 2}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {}
    if name.endswith(("token_id", "token_index", "_token")) and "per_token" not in name:
        unused = 280 + sum(map(ord, name)) % 15  # no document has it
        return {name: unused} if value >= VOCABULARY else {}
    for pattern, size in SIZES:
        if re.fullmatch(pattern, name):
            takes = value > size or isinstance(size, float) or (size == 2 and "layer" in name)
            return {name: size} if takes else {}
    return {}


@torch.no_grad()
def enliven(model: PreTrainedModel) -> None:
    """Draw what begins as a constant, and scale weights that are very small or large."""
    draw = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        decays = re.search(r"A_log|dt_bias|dt_proj.bias|time_decay", name)
        if decays or not weight.is_floating_point():
            continue
        noise = torch.randn(weight.shape, generator=draw).to(weight.dtype)
        if weight.ndim < 2:
            weight += 0.2 * noise
            continue
        spread = float(weight.float().std(unbiased=False))
        if spread != spread:  # memory that nobody filled
            weight.copy_(0.1 * noise)
        elif spread <= 1e-6:
            weight += 0.1 * noise
        elif not 0.15 <= spread <= 0.6:
            weight *= (0.15 if spread < 0.15 else 0.6) / spread
        if weight.ndim == 2:
            # The vector of padding; where a model chooses keys by their score, all would be equal.
            empty = ~weight.any(dim=1)
            weight[empty] += 0.15 * noise[empty]
