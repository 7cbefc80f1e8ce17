"""A key-value cache with spare capacity, filled from prompts that were read separately.

Appending to transformers' dynamic cache copies all of it at every token, which takes most of the
time of a small model on a CPU. Here a token is written into preallocated memory.

Shapes: `B` rows, `H` key heads, `T` tokens, `D` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 128


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values: views into buffers that are longer."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: dict[str, torch.Tensor] = {}
        self.keys: torch.Tensor
        self.values: torch.Tensor

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002 (transformers passes what other layers need)
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (B, H, T, D) keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._appended("keys", self.keys, key_states)
        self.values = self._appended("values", self.values, value_states)
        return self.keys, self.values

    def hold(self, keys_BHTD: torch.Tensor, values_BHTD: torch.Tensor, length: int) -> None:
        """Take over buffers of which the first `length` tokens are filled."""
        self.lazy_initialization(keys_BHTD, values_BHTD)
        self._buffers = {"keys": keys_BHTD, "values": values_BHTD}
        self.keys, self.values = keys_BHTD[:, :, :length], values_BHTD[:, :, :length]

    def _appended(self, name: str, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        used = held.shape[2] if held.numel() else 0
        total = used + new.shape[2]
        buffer = self._buffers.get(name)
        # Selecting rows replaces the view by a new tensor, so that the old buffer is unused.
        mine = buffer is not None and buffer.data_ptr() == held.data_ptr()
        if buffer is None or not mine or buffer.shape[2] < total:
            B, H, _, D = new.shape
            buffer = new.new_zeros(B, H, total + ROOM, D)
            if used:
                buffer[:, :, :used] = held
            self._buffers[name] = buffer
        buffer[:, :, used:total] = new
        return buffer[:, :, :total]


def is_plain(cache: object) -> bool:
    """Whether every layer just keeps all keys and values: no window, no recurrent state."""
    return isinstance(cache, Cache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def is_recurrent(cache: object) -> bool:
    """Whether some layer holds a recurrent state that accumulates its tokens."""
    layers = getattr(cache, "layers", ())
    return any(hasattr(layer, "recurrent_states") for layer in layers)


def gather(parts: Sequence[Cache], width: int, prefix: int = 0) -> Cache:
    """One cache of all parts' rows, each part's tokens at the right end of `width` columns.

    The columns to the left of a shorter part are zero; the attention mask must hide them. A trained
    prefix, the first `prefix` columns of every part, stays leftmost.
    """
    width += prefix
    layers = []
    for layers_of_parts in zip(*(part.layers for part in parts), strict=True):
        rows = sum(layer.keys.shape[0] for layer in layers_of_parts)
        buffers = []
        for name in ("keys", "values"):
            first = getattr(layers_of_parts[0], name)
            buffer = first.new_zeros(rows, first.shape[1], width + ROOM, first.shape[3])
            start = 0
            for layer in layers_of_parts:
                part = getattr(layer, name)
                rows_at = slice(start, start + len(part))
                own = part.shape[2] - prefix
                buffer[rows_at, :, :prefix] = part[:, :, :prefix]
                buffer[rows_at, :, width - own : width] = part[:, :, prefix:]
                start += len(part)
            buffers.append(buffer)
        roomy = RoomyLayer()
        keys, values = buffers
        roomy.hold(keys, values, width)
        layers.append(roomy)
    return Cache(layers=layers)
