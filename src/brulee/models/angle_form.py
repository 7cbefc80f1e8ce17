"""How a decoder turns queries and keys by their positions, read from its modules.

No module says in what order its angles are; what it gives for two positions does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_TURNS = ("rotate_half", "rotate_every_two")


@dataclass(frozen=True)
class Said:
    """How a rotary module says the angles of one kind of layer.

    `kind` is what it has to be asked for, None where it has one for all. It says the angles of a
    head's halves one after the other, or each `twice` in a row, or `once`; cosines first, or not.
    """

    kind: str | None = None
    twice: bool = False
    once: bool = False
    sines_first: bool = False


def said_by(module: Any, like: Any, config: Any, at: int) -> Said:
    """How a rotary module says those of layer `at`; `like` has a weight as hidden states are."""
    kind = None
    if "layer_type" in inspect.signature(module.forward).parameters:
        kind = str(config.layer_types[at])
    own = {} if kind is None else {"layer_type": kind}
    positions = torch.tensor([[0, 7]], device=like.weight.device)
    with torch.no_grad():
        given = module(like.weight[None, None], position_ids=positions, **own)
    cos_2W, sin_2W = (x[0] for x in given)
    sines_first = bool(cos_2W[0].abs().max() < sin_2W[0].abs().max())
    said_W = (sin_2W if sines_first else cos_2W)[1]
    half = len(said_W) // 2
    halves = torch.equal(said_W[:half], said_W[half:])
    twice = not halves and torch.equal(said_W[::2], said_W[1::2])
    return Said(kind, twice, not halves and not twice, sines_first)


def turns(attention: Any) -> bool:
    """No in layers that say so, and in those that see all where others see a window (Exaone 4)."""
    sees_all = not getattr(attention, "is_sliding", True)
    return bool(getattr(attention, "use_rope", not (sees_all and attention.sliding_window)))


def turns_neighbours(attention: Any) -> bool:
    """By what the file that has the module turns with: no module says so."""
    own = sys.modules.get(type(attention).__module__)
    found = [getattr(own, name) for name in _TURNS if hasattr(own, name)]
    turn: Callable[[torch.Tensor], torch.Tensor] | None = found[0] if found else None
    at = torch.arange(4.0).view(1, 1, 1, 4)
    return turn is not None and turn(at).flatten().tolist() == [-1.0, 0.0, -3.0, 2.0]
