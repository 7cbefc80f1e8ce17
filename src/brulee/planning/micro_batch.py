"""How many tokens of a pass fit into the memory that is free."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PretrainedConfig, PreTrainedModel

from brulee.models.experts import experts_in
from brulee.models.quantising import held_bytes
from brulee.models.stack_configs import stack_configs
from brulee.planning.memory import room

# Of what is free, the part that may be counted on.
_SHARE = 0.8
# What a layer keeps of a token for the backward pass is at most so many times its width and the
# width of its feed-forward part, in the format that it computes in.
_WIDTHS, _INNER = 14, 5
_DEPTHS = ("num_decoder_layers", "encoder_layers", "decoder_layers")
_INNERS = ("encoder_ffn_dim", "decoder_ffn_dim")
# Gradient and two moments of a trained value, in fp32.
_TRAINED_BYTES = 12
_LEAST = 256  # a pass of fewer tokens saves nothing worth having


def fitting_tokens(
    model: PreTrainedModel, parameters: Sequence[torch.nn.Parameter], device: torch.device
) -> int:
    """Tokens in one pass for which there is memory beside weights, gradients and moments.

    A bound from above on what a token takes, not a measurement: where there is plenty of memory,
    as nearly always on a CPU, more comes out than anybody would put into a pass.
    """
    trained = sum(p.numel() for p in parameters)
    return tokens_within(room(device), model, held_bytes(model), trained, model.dtype.itemsize)


def tokens_within(free: int, model: PreTrainedModel, held: int, trained: int, itemsize: int) -> int:
    """The same of a model of this shape, of which `held` bytes of weights lie in memory.

    Its passes compute in a format of `itemsize` bytes, and so many values are trained.
    """
    # A token goes through one stack, which is the larger one.
    sizes = [_sizes(config) for config in stack_configs(model.config)]
    layers, width, inner = (max(own) for own in zip(*sizes, strict=True))
    experts = experts_in(model)
    widths = _WIDTHS
    if experts is not None:  # each has a copy of what it reads, and of what it makes
        inner, widths = max(inner, experts.used * experts.inner), widths + 2 * experts.used
    token_bytes = layers * (widths * width + _INNER * inner) * itemsize
    left = _SHARE * free - held - trained * _TRAINED_BYTES
    return max(_LEAST, int(left / token_bytes))


def _sizes(config: PretrainedConfig) -> tuple[int, int, int]:
    """Layers, width and inner width; of an encoder and a decoder in one, the larger of both."""
    width = int(config.hidden_size)
    given = getattr(config, "intermediate_size", None) or getattr(config, "d_ff", None)
    inner, layers = int(given or 4 * width), int(config.num_hidden_layers)
    if config.is_encoder_decoder:
        layers = max(layers, *(int(getattr(config, name, None) or 0) for name in _DEPTHS))
        inner = max(inner, *(int(getattr(config, name, None) or 0) for name in _INNERS))
        # T5's queries of all heads are up to 16 times as wide as what they are made of.
        width = max(width, int(config.num_attention_heads * (getattr(config, "d_kv", None) or 0)))
    return layers, width, inner
