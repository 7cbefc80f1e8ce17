"""Queries, keys, values and gates of attention from its input, by the maps that a form names.

Shapes: `T` rows of the pack, `Q` rows that are queries, `H` query heads, `K` key heads, `W` head
width; `G` gates of a head, W or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from brulee.models.fused_projection import Again, project
from brulee.models.held import Held
from brulee.models.layer_form import LayerForm
from brulee.models.layer_parts import head_width, heads_of


@dataclass(frozen=True)
class Mapped:
    """What attention reads, with heads concatenated but for the gates.

    `q` (Q, H W), `k` and `v` (T, K W), `gate` (Q, H, G), None without a gate.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    gate: torch.Tensor | None = None


def mapped(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    held: Held,
    again: Again | None,
    index: torch.Tensor | None,
) -> Mapped:
    """Queries and gates of the rows `index` (Q), None for all; keys and values of all rows.

    No keys and values if those of another layer are read.
    """
    found = _mapped(own, form, x_TD, held, again, index)
    clip = form.extras.clip
    if clip is None:
        return found
    q, k, v = (x.clamp(-clip, clip) for x in (found.q, found.k, found.v))
    return Mapped(q, k, v, found.gate)


def _mapped(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    held: Held,
    again: Again | None,
    index: torch.Tensor | None,
) -> Mapped:
    if form.extras.keys_from is None and len(form.attention_maps) > 1:
        return _of_several(own, form, x_TD, held, again, index)
    if form.extras.keys_from is not None:
        x_TD, again = taken(x_TD, index), again if index is None else None
    maps = [getattr(own, name) for name in form.attention_maps]
    (all_TO,) = project(x_TD, maps, held, again)
    if form.extras.keys_from is not None:
        nothing = all_TO[:0]
        return Mapped(all_TO, nothing, nothing)
    if form.extras.shards:
        q, v, k = all_TO.view(len(all_TO), form.extras.shards, -1).chunk(3, dim=2)
        return Mapped(taken(q.flatten(1), index), k.flatten(1), v.flatten(1))
    width, heads = head_width(own) or 1, heads_of(own) or 1
    keys = (all_TO.shape[1] // width - heads) // 2
    if form.by_head:
        all_TKGW = all_TO.view(len(all_TO), keys, -1, width)
        q, k, v = all_TKGW.split_with_sizes([all_TKGW.shape[2] - 2, 1, 1], dim=2)
        return Mapped(taken(q.flatten(1), index), k.flatten(1), v.flatten(1))
    width *= keys
    q, k, v = all_TO.split_with_sizes([all_TO.shape[1] - 2 * width, width, width], dim=1)
    return Mapped(taken(q, index), k, v)


def _of_several(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    held: Held,
    again: Again | None,
    index: torch.Tensor | None,
) -> Mapped:
    q_map, *others = (getattr(own, name) for name in form.attention_maps)
    apart = form.gated not in ("", form.attention_maps[0])
    asks = [q_map, getattr(own, form.gated)] if apart else [q_map]
    if index is None:
        q, *rest = project(x_TD, [*asks, *others], held, again)
        gates, of_keys = rest[: len(asks) - 1], rest[len(asks) - 1 :]
    else:
        q, *gates = project(taken(x_TD, index), asks, held)
        of_keys = [*project(x_TD, others, held)]
    k, v = of_keys[0], of_keys[-1]  # without a map for values, these are the keys
    width = head_width(own) or 1
    if not form.gated:
        return Mapped(q, k, v)
    if gates:
        return Mapped(q, k, v, gates[0].view(len(q), q.shape[1] // width, -1))
    q_QHW, gate_QHW = q.view(len(q), -1, 2 * width).chunk(2, dim=2)
    return Mapped(q_QHW.flatten(1), k, v, gate_QHW)


def taken(x_TD: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """The given rows; all for None."""
    return x_TD if rows is None else x_TD.index_select(0, rows)
