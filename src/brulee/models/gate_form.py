"""Read from an attention module which map gives the gate of its output, and what opens it."""

from __future__ import annotations

from typing import Any

import torch

from brulee.models.layer_parts import Body, children, head_width, heads_of
from brulee.models.output_gate import CURVES

# The map that gives the gates, if it is not that of the queries.
_GATES = ("gate_proj", "g_proj")
_Angles = tuple[torch.Tensor, torch.Tensor]


@torch.no_grad()
def read_gate(
    attention: Any, maps: tuple[str, ...], out: str, body: Body, kind: str | None
) -> tuple[str, str] | None:
    """The map that gives the gate and the function that opens it, ("", "") without a gate.

    None if it is opened by something else. `maps` are those of queries, keys and values; `kind` is
    the layer type that the body's rotary embedding takes.
    """
    if len(maps) != 3:
        return "", ""
    drawn = torch.randn(1, 1, len(body.like), generator=torch.Generator().manual_seed(0))
    x_11D = drawn.to(body.like.device, body.like.dtype)
    gate = next((name for name in _GATES if name in children(attention)), "")
    width, heads = head_width(attention) or 1, heads_of(attention) or 1
    if not gate and getattr(attention, maps[0])(x_11D).shape[-1] != 2 * heads * width:
        return "", ""
    gate = gate or maps[0]
    angles: _Angles | None = None
    if body.angles is not None:
        own = {} if kind is None else {"layer_type": kind}
        at = torch.zeros(1, 1, dtype=torch.long, device=x_11D.device)
        angles = body.angles(x_11D, position_ids=at, **own)
    curve = _curve(attention, maps, gate, out, x_11D, angles)
    return None if curve is None else (gate, curve)


def _curve(
    attention: Any,
    maps: tuple[str, ...],
    gate: str,
    out: str,
    x_11D: torch.Tensor,
    angles: _Angles | None,
) -> str | None:
    """What opens a gate, tried on one token, which attends to its own values only."""
    training = attention.training
    attention.eval()
    try:
        # Not called as a module, since a method's hooks may add to its output.
        given = attention.forward(x_11D, position_embeddings=angles, attention_mask=None)[0]
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError):
        return None
    finally:
        attention.train(training)
    width = head_width(attention) or 1
    values_KW = getattr(attention, maps[2])(x_11D).view(-1, width)
    queries, gates = (getattr(attention, name)(x_11D).flatten() for name in (maps[0], gate))
    heads = len(queries) // (2 * width if gate == maps[0] else width)
    if len(gates) not in (heads, heads * width, len(queries)) or heads % len(values_KW):
        return None  # neither of each head nor of each value
    values_HW = values_KW.repeat_interleave(heads // len(values_KW), dim=0)
    for name, curve in CURVES.items():
        opened_HG = curve(gates.view(heads, -1)[:, -width:])
        made = getattr(attention, out)((values_HW * opened_HG).view(1, 1, -1))
        if torch.allclose(made, given, rtol=0.02, atol=0.02 * float(given.abs().max())):
            return name
    return None
