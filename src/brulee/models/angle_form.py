"""Read from a decoder's modules how it applies rotary embeddings to queries and keys.

Modules do not declare the layout of their angles; it is found from their output for two positions.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_TURNS = ("rotate_half", "rotate_every_two")
# A function beside the usual one, for models whose configuration may choose between both.
_PAIRED, _CHOICE = "apply_rotary_pos_emb_interleave", "rope_interleave"


@dataclass(frozen=True)
class AngleLayout:
    """The layout of a rotary module's output for one type of layer.

    `kind` is the layer type to pass to the module, None if it takes none. Each angle is repeated in
    the head's second half, or `twice` in a row, or occurs `once`; cosines come first, or sines. If
    they are parts of complex numbers (`polar`), adjacent values are one too and are paired.
    """

    kind: str | None = None
    twice: bool = False
    once: bool = False
    sines_first: bool = False
    polar: bool = False


class _InGrids(nn.Module):
    """A rotary module that takes positions in grids (N, B, T), given those of text (B, T).

    A text has the same position in time, height and width.
    """

    def __init__(self, own: nn.Module, grids: int) -> None:
        super().__init__()
        self.own, self.grids = own, grids

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor, **kind: str) -> Any:
        return self.own(x, position_ids=position_ids.expand(self.grids, -1, -1), **kind)


def of_rows(module: nn.Module, like_D: torch.Tensor, config: Any) -> nn.Module:
    """A rotary module that takes positions (B, T); `like` is a row of hidden states.

    That of Qwen 3.5 takes them so itself, but in transformers 5.17 wants a grid for each section.
    """
    sections = getattr(module, "mrope_section", None)
    if sections is None:
        return module
    kinds = getattr(config, "layer_types", None) or ()
    turning = next((at for at in range(len(kinds)) if has_angles(config, at)), 0)
    first = torch.zeros(1, 1, dtype=torch.long, device=like_D.device)
    try:
        with torch.no_grad():
            module(like_D[None, None], position_ids=first, **_kind(module, config, turning))
    except IndexError:
        return _InGrids(module, len(sections))
    return module


def _kind(module: Any, config: Any, at: int) -> dict[str, str]:
    """The type of layer `at`, as an argument, if the module takes one."""
    forward = (module.own if isinstance(module, _InGrids) else module).forward
    if "layer_type" not in inspect.signature(forward).parameters:
        return {}
    return {"layer_type": str(config.layer_types[at])}


def cosines_and_sines(given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The two parts of a rotary module's output, also if they are those of complex numbers."""
    first, second = (given.real, given.imag) if isinstance(given, torch.Tensor) else given
    return first, second


def has_angles(config: Any, at: int) -> bool:
    """Whether layer `at` is given angles: not if its type has none (Cohere Compass)."""
    listed = getattr(config, "rope_parameters", None) or {}
    kinds = getattr(config, "layer_types", None)
    return not kinds or listed.get(kinds[at], listed) is not None


def read_layout(module: Any, like_D: torch.Tensor, config: Any, at: int) -> AngleLayout | None:
    """The layout for layer `at`; `like` is a row of hidden states' width and dtype.

    None if the module takes no positions (B, T).
    """
    own = _kind(module, config, at)
    positions = torch.tensor([[0, 7]], device=like_D.device)
    try:
        with torch.no_grad():
            given = module(like_D[None, None], position_ids=positions, **own)
    except IndexError:
        return None
    polar = isinstance(given, torch.Tensor)
    cos_2W, sin_2W = (x[0] for x in cosines_and_sines(given))
    sines_first = bool(cos_2W[0].abs().max() < sin_2W[0].abs().max())
    said_W = (sin_2W if sines_first else cos_2W)[1]
    half = len(said_W) // 2
    halves = torch.equal(said_W[:half], said_W[half:])
    twice = not halves and torch.equal(said_W[::2], said_W[1::2])
    return AngleLayout(own.get("layer_type"), twice, not halves and not twice, sines_first, polar)


def turns(attention: Any, angles: Any, like_D: torch.Tensor, kind: str | None) -> bool:
    """Whether a layer applies rotary embeddings.

    Not if it says so, nor if it sees everything while others have a window (Exaone 4). A layer
    without a window may turn or not (Cohere 2), which its output for two positions tells.
    """
    sees_all = not getattr(attention, "is_sliding", True)
    kinds = {*(getattr(getattr(attention, "config", None), "layer_types", None) or ())}
    told = hasattr(attention, "use_rope")
    if len(kinds) > 1 and getattr(attention, "sliding_window", 0) is None and not told:
        return _is_turned(attention, angles, like_D, {} if kind is None else {"layer_type": kind})
    return bool(getattr(attention, "use_rope", not (sees_all and attention.sliding_window)))


@torch.no_grad()
def _is_turned(attention: Any, angles: Any, like_D: torch.Tensor, own: dict[str, str]) -> bool:
    """Whether attention to two tokens depends on the second one's position; true if unknown."""
    scale = like_D.device, like_D.dtype
    draw = torch.Generator().manual_seed(0)
    x_12D = torch.randn(1, 2, len(like_D), generator=draw).to(*scale)
    found, training = [], attention.training
    attention.eval()
    for last in (1, 7):
        at = torch.tensor([[0, last]], device=scale[0])
        embeddings = angles(x_12D, position_ids=at, **own)
        try:
            given = attention(x_12D, position_embeddings=embeddings, attention_mask=None)
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError):
            break
        found.append(given[0])
    attention.train(training)
    return len(found) < 2 or not torch.equal(*found)


def turns_neighbours(attention: Any) -> bool:
    """Whether adjacent values are paired, found by calling the rotation of the module's file."""
    if hasattr(sys.modules.get(type(attention).__module__), _PAIRED):
        return bool(getattr(getattr(attention, "config", None), _CHOICE, True))
    return _turned_by_file(attention) == [-1.0, 0.0, -3.0, 2.0]


def turns_backwards(attention: Any) -> bool:
    """Whether each pair is rotated the other way (nanochat)."""
    return _turned_by_file(attention) in ([2.0, 3.0, 0.0, -1.0], [1.0, 0.0, 3.0, -2.0])


def _turned_by_file(attention: Any) -> list[float] | None:
    own = sys.modules.get(type(attention).__module__)
    found = [getattr(own, name) for name in _TURNS if hasattr(own, name)]
    turn: Callable[[torch.Tensor], torch.Tensor] | None = found[0] if found else None
    return None if turn is None else turn(torch.arange(4.0).view(1, 1, 1, 4)).flatten().tolist()
