"""How many tokens per pass fit into the free memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PretrainedConfig, PreTrainedModel

from brulee.models.experts import experts_in
from brulee.models.quantising import held_bytes
from brulee.models.stack_configs import stack_configs
from brulee.planning.memory import room
from brulee.planning.shares import Shares

# The fraction of free memory to rely on.
_SHARE = 0.8
# Upper bound on what a layer keeps per token for the backward pass, in multiples of its width and
# of its feed-forward's inner width, in the dtype of the computation.
_WIDTHS, _INNER = 14, 5
_DEPTHS = ("num_decoder_layers", "encoder_layers", "decoder_layers")
_INNERS = ("encoder_ffn_dim", "decoder_ffn_dim")
# Gradient and two moments per trained value, in fp32.
_TRAINED_BYTES = 12
_LEAST = 256  # smaller passes save no relevant memory


def fitting_tokens(
    model: PreTrainedModel,
    parameters: Sequence[torch.nn.Parameter],
    device: torch.device,
    shares: Shares | None = None,
) -> int:
    """Tokens per pass that fit into memory next to weights, gradients and moments.

    `shares` says which part of these a process has, if not all. Uses an upper bound per token, not
    a measurement: with plenty of memory, as nearly always on a CPU, the result is larger than any
    pass would be.
    """
    held, trained = held_bytes(model), sum(p.numel() for p in parameters)
    if shares is not None:
        held, trained = shares.peak, shares.trained(parameters)
    return tokens_within(room(device), model, held, trained, model.dtype.itemsize)


def tokens_within(free: int, model: PreTrainedModel, held: int, trained: int, itemsize: int) -> int:
    """The same for a model of this shape, with `held` bytes of weights in memory.

    Passes compute in a dtype of `itemsize` bytes; `trained` is the number of trained values.
    """
    # A token passes through one stack; assume the larger one.
    sizes = [_sizes(config) for config in stack_configs(model.config)]
    layers, width, inner = (max(own) for own in zip(*sizes, strict=True))
    experts = experts_in(model)
    widths = _WIDTHS
    if experts is not None:  # each has copies of its inputs and outputs
        inner, widths = max(inner, experts.used * experts.inner), widths + 2 * experts.used
    token_bytes = layers * (widths * width + _INNER * inner) * itemsize
    left = _SHARE * free - held - trained * _TRAINED_BYTES
    return max(_LEAST, int(left / token_bytes))


def _sizes(config: PretrainedConfig) -> tuple[int, int, int]:
    """Layers, width and inner width; for an encoder-decoder configuration, the larger ones."""
    width = int(config.hidden_size)
    given = getattr(config, "intermediate_size", None) or getattr(config, "d_ff", None)
    # Gemma 3n has one for each layer.
    inner = max(given) if isinstance(given, list | tuple) else int(given or 4 * width)
    layers = int(config.num_hidden_layers)
    if config.is_encoder_decoder:
        layers = max(layers, *(int(getattr(config, name, None) or 0) for name in _DEPTHS))
        inner = max(inner, *(int(getattr(config, name, None) or 0) for name in _INNERS))
        # T5's queries of all heads together are up to 16 times as wide as the model.
        width = max(width, int(config.num_attention_heads * (getattr(config, "d_kv", None) or 0)))
    return layers, width, inner
