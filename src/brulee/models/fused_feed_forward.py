"""The MLP of a layer, or its experts, as the layer's form describes them.

Shapes: `T` rows, `D` width, `F` the MLP's inner width.
"""

from __future__ import annotations

from typing import Any

import torch

from brulee.models.dropping import dropped
from brulee.models.fused_activation import activated
from brulee.models.fused_extras import Norm, sparse, with_experts
from brulee.models.fused_latent import Read
from brulee.models.fused_projection import Again, project
from brulee.models.fused_swiglu import gated, gated_again
from brulee.models.held import Held
from brulee.models.hooks import with_additions
from brulee.models.layer_form import LayerForm
from brulee.models.layer_parts import added_to, mlp_in


def feed_forward(
    layer: Any,
    form: LayerForm,
    hidden_TD: torch.Tensor,
    x_TD: torch.Tensor,
    again: Again | None,
    stream_TD: torch.Tensor,
    share: float,
    recomputes: bool,
    held: Held,
    norm: Norm,
    read: Read,
) -> torch.Tensor:
    """What the MLP adds to the stream, (T, D), with this `share` dropped.

    `x` is its normalised input, which `again` recomputes, `hidden` the input of the norm. `norm`
    applies a norm, and `read` one by its name.
    """
    own, factors = mlp_in(layer, form.mlp), form.extras.factors
    if form.experts:  # called as a module, with its hooks and its own router
        made = own(x_TD[None])
        made_TD: torch.Tensor = made[0] if isinstance(made, tuple) else made
        made_TD = made_TD.view_as(x_TD)
        return made_TD + getattr(layer, form.beside)(x_TD) if form.beside else made_TD
    halves = project(x_TD, [getattr(own, name) for name in form.gate_maps], held, again)
    if form.gate and len(halves) == 1:  # made contiguous once, not in each function
        halves = tuple(half.contiguous() for half in halves[0].chunk(2, dim=1))
    inner_again: Again | None
    if form.gate:
        gate, up = halves
        gate = gate if factors.gates == 1.0 else gate * factors.gates
        gate = sparse(gate, form.extras.sparsity) if form.extras.sparsity else gate
        inner_TF, inner_again = gated(gate, up, form.gate), gated_again(gate, up, form.gate)
    else:
        inner_TF, inner_again = activated(getattr(own, form.act), halves[0], form.curve)
    if form.extras.inner_norm:
        inner_TF, inner_again = read(own, form.extras.inner_norm, inner_TF)
    inner_again = None if recomputes else inner_again
    (out_TD,) = project(inner_TF, [getattr(own, form.down)], held, inner_again)
    out_TD = dropped(out_TD, share)
    out_TD = out_TD if factors.fed == 1.0 else out_TD * factors.fed
    inside_TD = stream_TD if form.extras.sums_inside[1] else None
    out_TD = with_additions(added_to(layer), x_TD, out_TD, inside_TD)
    return with_experts(layer, hidden_TD, out_TD, norm) if form.extras.routed else out_TD
