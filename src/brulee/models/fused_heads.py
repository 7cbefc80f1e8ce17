"""Queries, keys and values of attention as a layer's form describes them, normalised and rotated.

Shapes: `T` rows of the pack, `Q` rows that are queries, `H` query heads, `K` key heads, `W` head
width; `G` gates of a head, W or 1.
"""

from __future__ import annotations

from typing import Any

import torch

from brulee.models.attention_maps import mapped
from brulee.models.fused_extras import Norm
from brulee.models.fused_latent import Read, latent_heads, turned_heads
from brulee.models.fused_projection import Again
from brulee.models.fused_rope import rotate
from brulee.models.fused_rows import Angles, Rows
from brulee.models.held import Held
from brulee.models.layer_form import LayerForm
from brulee.models.layer_parts import head_width, heads_of


def heads(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    again: Again | None,
    rows: Rows,
    held: Held,
    norm: Norm,
    read: Read,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Queries (Q, H, W), keys (T, K, W), values (T, K, W), which may be narrower, and gates.

    `again` recomputes x; `norm` applies a norm, and `read` one by its name.
    """
    if form.latent is not None:
        how = (form.latent, heads_of(own) or 1, x_TD, again, rows.index, held, read)
        q, k, v, r = latent_heads(own, *how)
        angles = rows.query_angles, rows.key_angles
        of_q, of_k = (each[form.angles] if form.turns else None for each in angles)
        return *turned_heads(q, k, r, of_q, of_k, form.neighbours), v, None
    found = mapped(own, form, x_TD, held, again, rows.index)
    q_QHW = _turned(own, form, found.q, rows.query_angles, 0, norm)
    if rows.kept is not None:
        return q_QHW, *rows.kept, found.gate
    times = form.extras.factors.keys
    k = found.k if times == 1.0 else found.k * times
    k_TKW = _turned(own, form, k, rows.key_angles, 1, norm)
    v_TKW = found.v.view(*k_TKW.shape[:2], -1)
    if form.extras.value_norm:
        v_TKW = norm(getattr(own, form.extras.value_norm), v_TKW)
    return q_QHW, k_TKW, v_TKW, found.gate


def _turned(
    own: Any,
    form: LayerForm,
    x: torch.Tensor,
    angles: dict[str | None, Angles],
    which: int,
    norm: Norm,
) -> torch.Tensor:
    """Queries (0) or keys (1), (T, H, W), normalised and rotated."""
    by = getattr(own, form.head_norms[which]) if form.head_norms else None
    if by is not None and form.whole:
        x = norm(by, x)
    x_THW = x.view(len(x), -1, head_width(own) or 1)
    if by is not None and not (form.whole or form.after_angles):
        x_THW = norm(by, x_THW)
    if form.turns:
        x_THW = rotate(x_THW, *angles[form.angles], form.neighbours)
    return norm(by, x_THW) if by is not None and form.after_angles else x_THW
