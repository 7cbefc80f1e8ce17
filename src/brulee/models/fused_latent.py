"""Multi-head latent attention: queries, keys and values through maps of low rank.

    q = Q_b N(Q_a x), or Q x        [c | r] = KV_a x        [k | v] = KV_b N(c)

DeepSeek-AI 2024, "DeepSeek-V2", arXiv 2405.04434. A head's query ends in values that are rotated;
its key is k followed by r, rotated, which all heads share. Values may be narrower than keys. All
sizes are those of the maps' outputs, so that a method may have put anything in their places.

A pack computes keys and values of every head: a training step reads each of them once for many
queries, unlike generation, where multiplying KV_b into queries and outputs saves memory.

Shapes: `T` rows of the pack, `Q` rows with queries, `D` width, `H` heads, `W` width of queries and
keys, `V` of values, `C` of c, `R` number of rotated values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from brulee.models.fused_projection import Again, project
from brulee.models.fused_rope import rotate
from brulee.models.held import Held

_QUERIES: tuple[tuple[str, ...], ...] = (("q_a_proj", "q_a_layernorm", "q_b_proj"), ("q_proj",))
_KEYS_VALUES = ("kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj")

# The normalised input of a map by the norm of this name, and a function that recomputes it.
Read = Callable[[Any, str, torch.Tensor], tuple[torch.Tensor, Again | None]]
Angles = tuple[torch.Tensor, torch.Tensor]  # (T, R) cosines and sines


@dataclass(frozen=True)
class LatentForm:
    """The names of the modules: a map, or a map, a norm and a map."""

    queries: tuple[str, ...]
    keys_values: tuple[str, str, str] = _KEYS_VALUES

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of all maps."""
        return self.queries[::2] + self.keys_values[::2]

    @property
    def norms(self) -> tuple[str, ...]:
        """The names of all norms."""
        return self.queries[1::2] + self.keys_values[1::2]


def read_latent(attention: nn.Module) -> LatentForm | None:
    """The form of an attention module; None if its keys and values have no common latent."""
    own = {name for name, _ in attention.named_children()}
    queries = next((names for names in _QUERIES if own >= {*names}), None)
    return LatentForm(queries) if queries is not None and own >= {*_KEYS_VALUES} else None


def latent_heads(
    attention: Any,
    form: LatentForm,
    heads: int,
    x_TD: torch.Tensor,
    again: Again | None,
    index: torch.Tensor | None,
    held: Held,
    read: Read,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries (Q, H, W), keys without r (T, H, W - R), values (T, H, V) and r (T, 1, R).

    Nothing is rotated yet. Queries are those of the rows `index`, None for all. `again` recomputes
    x, so that it is not saved.
    """
    to_q, to_kv = (getattr(attention, names[0]) for names in (form.queries, form.keys_values))
    if index is None:
        q, cr = project(x_TD, [to_q, to_kv], held, again)
    else:
        (q,) = project(x_TD.index_select(0, index), [to_q], held)
        (cr,) = project(x_TD, [to_kv], held)
    q_QHW = _expanded(attention, form.queries, q, held, read).view(len(q), heads, -1)
    latent = len(getattr(attention, form.keys_values[1]).weight)
    c, r = cr.split_with_sizes([latent, cr.shape[1] - latent], dim=1)
    kv = _expanded(attention, form.keys_values, c.contiguous(), held, read)
    kv_THE = kv.view(len(kv), heads, -1)
    still = q_QHW.shape[2] - r.shape[1]
    k_THS, v_THV = kv_THE.split_with_sizes([still, kv_THE.shape[2] - still], dim=2)
    return q_QHW, k_THS, v_THV, r[:, None]


def _expanded(
    attention: Any, names: tuple[str, ...], x: torch.Tensor, held: Held, read: Read
) -> torch.Tensor:
    """The output of a norm and a map after the first one, if there are any."""
    if len(names) == 1:
        return x
    normed, again = read(attention, names[1], x)
    (found,) = project(normed, [getattr(attention, names[2])], held, again)
    return found


def turned_heads(
    q_QHW: torch.Tensor,
    k_THS: torch.Tensor,
    r_T1R: torch.Tensor,
    of_q: Angles | None,
    of_k: Angles | None,
    neighbours: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries (Q, H, W) and keys (T, H, W) whose last R values of every head are rotated.

    Without angles, they are only put together (Kimi Linear).
    """
    still, turned = k_THS.shape[2], r_T1R.shape[2]
    if of_q is None or of_k is None:
        return q_QHW, torch.cat([k_THS, r_T1R.expand(-1, k_THS.shape[1], -1)], dim=2)
    still_QHS, turned_QHR = q_QHW.split_with_sizes([still, turned], dim=2)
    q_QHW = torch.cat([still_QHS, rotate(turned_QHR, *of_q, neighbours)], dim=2)
    r_THR = rotate(r_T1R, *of_k, neighbours).expand(-1, k_THS.shape[1], -1)
    return q_QHW, torch.cat([k_THS, r_THR], dim=2)
