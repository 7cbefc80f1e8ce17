"""The queries, keys and values of a layer, before norms and rotary embeddings.

A layer may read the keys and values of another layer: then it has queries only.

Shapes: `T` rows of the pack, `Q` rows whose queries are computed, `D` width, `K` key heads, `G`
query heads of a key head, `W` head width; `O` outputs of a merged linear layer.
"""

from __future__ import annotations

from typing import Any

import torch

from brulee.models.fused_projection import Again, project
from brulee.models.held import Held
from brulee.models.layer_form import LayerForm
from brulee.models.layer_parts import head_width, heads_of


def queries_keys_values(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    again: Again | None,
    index: torch.Tensor | None,
    held: Held,
) -> tuple[torch.Tensor, ...]:
    """Queries of the rows `index`, keys and values of all rows, with heads concatenated.

    Without a linear layer for values, these are the keys.
    """
    found = _projected(own, form, x_TD, again, index, held)
    clip = form.extras.clip
    return found if clip is None else tuple(x.clamp(-clip, clip) for x in found)


def _projected(
    own: Any,
    form: LayerForm,
    x_TD: torch.Tensor,
    again: Again | None,
    index: torch.Tensor | None,
    held: Held,
) -> tuple[torch.Tensor, ...]:
    maps = [getattr(own, name) for name in form.attention_maps]
    if form.extras.keys_from is not None:
        return project(taken(x_TD, index), maps, held, again if index is None else None)
    if len(maps) > 1 and index is None:
        found = project(x_TD, maps, held, again)
    elif len(maps) > 1:
        (q,) = project(taken(x_TD, index), maps[:1], held)
        found = q, *project(x_TD, maps[1:], held)
    if len(maps) > 1:
        return found if len(maps) == 3 else (*found, found[1])
    (all_TO,) = project(x_TD, maps, held, again)
    return _split(own, form, all_TO, index)


def _split(
    own: Any, form: LayerForm, all_TO: torch.Tensor, index: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """The parts of a merged linear layer's output."""
    width, heads = head_width(own) or 1, heads_of(own) or 1
    if form.extras.shards:
        q, v, k = (
            x.flatten(1) for x in all_TO.view(len(all_TO), form.extras.shards, -1).chunk(3, 2)
        )
        return taken(q, index), k, v
    keys = (all_TO.shape[1] // width - heads) // 2
    if form.by_head:
        all_TKGW = all_TO.view(len(all_TO), keys, -1, width)
        q, k, v = all_TKGW.split_with_sizes([all_TKGW.shape[2] - 2, 1, 1], dim=2)
        return taken(q.flatten(1), index), k.flatten(1), v.flatten(1)
    width *= keys
    q, k, v = all_TO.split_with_sizes([all_TO.shape[1] - 2 * width, width, width], dim=1)
    return taken(q, index), k, v


def taken(x_TD: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """The given rows; all for None."""
    return x_TD if rows is None else x_TD.index_select(0, rows)
