"""A trained prefix in a model's key-value cache, put there before the model reads anything.

    keys, values of a layer   |- P trained -|--- a document's own ---|

A document's positions start after the prefix. Nothing of the model is wrapped: a hook changes the
model's inputs.

Shapes: `B` rows, `P` prefix positions, `L` layers, `H` key heads, `D` head width, `C` = 2 L H D.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from brulee.errors import InputError
from brulee.methods.prefix_source import PrefixSource
from brulee.models.attention import NAME as PACKED
from brulee.models.cache_names import cache_name
from brulee.models.text_part import entrance

NAME = "brulee_prefix"


@dataclass(frozen=True)
class Sizes:
    """What a model caches per position: keys and values of L layers with H heads of width D."""

    layers: int
    heads: int
    width: int
    crossed: bool  # whether the layers also have cross-attention

    @property
    def columns(self) -> int:
        """Values per position."""
        return 2 * self.layers * self.heads * self.width

    def blocks(self) -> list[int]:
        """Which of the L stored layers each of the model's layers reads.

        Its own, except in an encoder-decoder: there PEFT stores two sets of layers and indexes them
        in steps of four blocks, so that layer i reads 2 i modulo L. We read adapters the same way.
        """
        return [(2 * i) % self.layers if self.crossed else i for i in range(self.layers)]


class PrefixCache(nn.Module):
    """A pre-forward hook that puts the output of `source`, (P, C), into a decoder's cache."""

    def __init__(self, source: PrefixSource, sizes: Sizes, model: PreTrainedModel) -> None:
        super().__init__()
        self.source, self.sizes, self.enabled = source, sizes, True
        self._dtype, self._config = model.dtype, model.config
        self._cache = cache_name(entrance(model))

    def before(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Set positions, mask and cache as after P tokens."""
        if not self.enabled:
            return args, kwargs
        if "cu_seq_lens_q" in kwargs and self._config._attn_implementation != PACKED:
            raise ValueError("a pack after a prefix needs attention inside `packed`")
        given = [*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")]
        read = next(tensor for tensor in given if tensor is not None)
        rows, count = read.shape[0], self.source.count
        changed = dict(kwargs)
        mask, positions = kwargs.get("attention_mask"), kwargs.get("position_ids")
        if mask is not None:
            changed["attention_mask"] = torch.cat([mask.new_ones(rows, count), mask], dim=1)
        if positions is not None:
            changed["position_ids"] = positions + count
        changed[self._cache] = self._filled(kwargs.get(self._cache), rows)
        return args, changed

    @property
    def count(self) -> int:
        """How many positions currently precede a document."""
        return self.source.count if self.enabled else 0

    def keys_and_values(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The prefix of each of the model's layers, (P, H, D) each."""
        return [(k[0].transpose(0, 1), v[0].transpose(0, 1)) for k, v in self._layers(1)]

    def _filled(self, cache: Cache | None, rows: int) -> Cache:
        if cache is None:
            cache = DynamicCache()
            if self.sizes.crossed:
                cache = EncoderDecoderCache(cache, DynamicCache())
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        if own.get_seq_length() == 0:
            for layer, (keys, values) in enumerate(self._layers(rows)):
                own.update(keys, values, layer)
        return cache

    def _layers(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each of the model's layers, (B, H, P, D)."""
        s, values_PC = self.sizes, self.source().to(self._dtype)
        blocks = values_PC.view(len(values_PC), 2 * s.layers, s.heads, s.width)
        blocks = blocks.permute(1, 2, 0, 3).unsqueeze(1).expand(-1, rows, -1, -1, -1)
        return [(blocks[2 * b], blocks[2 * b + 1]) for b in s.blocks()]


def sizes_of(model: PreTrainedModel) -> Sizes:
    """What the model caches per position, determined by running it on one token.

    Raises InputError for a model whose layers do not all cache keys and values of one shape.
    """
    found = activations(model, torch.zeros(1, dtype=torch.long))
    shapes = {tensor.shape for pair in found for tensor in pair}
    if len(shapes) > 1:
        raise InputError(
            f"method prefix: the layers of {type(model).__name__} keep keys and values of "
            "different shapes, which PEFT's file has no place for."
        )
    (_, heads, _, width) = shapes.pop()
    return Sizes(len(found), heads, width, bool(model.config.is_encoder_decoder))


@torch.no_grad()
def activations(
    model: PreTrainedModel, ids_P: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each layer's keys and values of these tokens, (1, H, P, D); of two stacks, the decoder's.

    Raises InputError for a model that does not cache them all.
    """
    ids_1P = ids_P.unsqueeze(0).to(next(model.parameters()).device)
    inputs = {"input_ids": ids_1P, "attention_mask": torch.ones_like(ids_1P)}
    cache: Cache = DynamicCache()
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids_1P
        cache = EncoderDecoderCache(cache, DynamicCache())
    refusal = InputError(
        f"method prefix: {type(model).__name__} does not keep keys and values of everything that "
        "it has read, so a prefix cannot be added."
    )
    training = model.training
    model.eval()
    try:
        with _counted(model) as calls:
            model(**inputs, **{cache_name(model): cache}, use_cache=True)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise refusal from None  # recurrent states need another kind of cache
    finally:
        model.train(training)
    own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
    if not own.layers or any(type(layer) is not DynamicLayer for layer in own.layers):
        raise refusal
    found = [(layer.keys, layer.values) for layer in own.layers]
    if any(tensor is None for pair in found for tensor in pair):
        raise refusal  # some layers cache nothing (RecurrentGemma)
    if any(max(own.values()) > 1 and sum(own.values()) > len(found) for own in calls if own):
        raise refusal  # layers that run again and cache only the last time (Dory)
    return found


@contextmanager
def _counted(model: PreTrainedModel) -> Iterator[list[Counter[nn.Module]]]:
    """How often each module of each list of modules is called inside this block."""
    calls: list[Counter[nn.Module]] = []
    with ExitStack() as hooks:
        for stack in (m for m in model.modules() if isinstance(m, nn.ModuleList)):
            own: Counter[nn.Module] = Counter()
            calls.append(own)
            for layer in stack:
                handle = layer.register_forward_pre_hook(partial(_count, own))
                hooks.callback(handle.remove)
        yield calls


def _count(calls: Counter[nn.Module], module: nn.Module, _: object) -> None:
    calls[module] += 1
