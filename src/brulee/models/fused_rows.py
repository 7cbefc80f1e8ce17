"""The rows of a pack that a decoder's layers compute, with all that attention reads beside them.

Layers up to the last one with keys of its own compute every row of the pack. That layer reads all
rows, but computes the asked ones only, and those after it know no others.

Shapes: `T` rows of the pack, `Q` rows that a layer computes, `K` key heads, `W` head width, `P`
rows of a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from brulee.models.angle_form import cosines_and_sines
from brulee.models.attention_maps import taken
from brulee.models.fused_attention import Reading
from brulee.models.fused_long import Long
from brulee.models.hooks import KeysAndValues
from brulee.models.layer_form import DecoderForm, LayerForm
from brulee.models.layer_parts import Body
from brulee.models.mixers import Apart, apart
from brulee.models.prepared import Prepared
from brulee.models.rounding import filled, step_of

# The rows of a pack, and those of its last layer, are padded to a multiple of these (rounding.py).
STEP, LAST_STEP = 64, 32

Angles = tuple[torch.Tensor, torch.Tensor]  # rotary cosines and sines, one row per token


@dataclass(frozen=True)
class Rows:
    """A layer's query rows, attention spans, rotary angles of queries and keys, and prefix.

    Rotary angles are by layer type. `growth` is a factor of queries, None for 1. `kept` are another
    layer's keys and values, `words` (Q, P) the tokens' vectors for this layer, if it reads either.
    """

    index: torch.Tensor | None  # (Q) among the T rows, None for all
    reading: Reading
    query_angles: dict[str | None, Angles]
    key_angles: dict[str | None, Angles]
    growth: torch.Tensor | None  # (Q, 1, 1)
    apart: Apart | None = None  # for layers that are no attention
    places: torch.Tensor | None = None  # (T), the keys' positions, for scores with a bias
    before: KeysAndValues | None = None  # the prefix, (P, K, W)
    kept: KeysAndValues | None = None
    words: torch.Tensor | None = None
    long: Long = field(default_factory=Long)


def rows_of(
    form: DecoderForm,
    body: Body,
    hidden_TD: torch.Tensor,
    prepared: Prepared,
    dtype: torch.dtype,
) -> tuple[Rows, Rows]:
    """The rows for all layers before the last with keys, and those for it and what follows.

    Angles are in `dtype`, that of the products.
    """
    positions = filled(prepared.positions, step_of(hidden_TD, STEP, dtype))
    angles = {
        one.angles: _angles(body, hidden_TD, positions, one, dtype)
        for one in {one.angles: one for one in form.layers if one.turns}.values()
    }
    growth = _growth(form, positions, dtype)
    spans = prepared.every.spans, prepared.last.spans
    apart_of: list[Apart | None] = [None, None]
    if any(one.mixes or one.extras.mixer for one in form.layers):
        apart_of = [apart(each, hidden_TD.device) for each in spans]
    places = positions if any(one.extras.slopes for one in form.layers) else None
    every = Rows(None, prepared.every, angles, angles, growth, apart_of[0], places)
    # Padded with the pack's last row; nothing reads the result.
    index = prepared.index
    more = -len(index) % step_of(hidden_TD, LAST_STEP, dtype)
    index = F.pad(index, (0, more), value=len(hidden_TD) - 1) if more else index
    late = {one.angles for one in form.layers[form.last_with_keys :] if one.turns}
    asked = {kind: _taken(angles[kind], index) for kind in late}
    of_asked = None if growth is None else taken(growth, index)
    last = prepared.last, asked, angles, of_asked, apart_of[1], places
    return every, Rows(index, *last)


def _angles(
    body: Body,
    hidden_TD: torch.Tensor,
    positions: torch.Tensor,
    form: LayerForm,
    dtype: torch.dtype,
) -> Angles:
    assert body.angles is not None, "of layers that turn"
    own = {} if form.angles is None else {"layer_type": form.angles}
    given = body.angles(hidden_TD[None], position_ids=positions[None], **own)
    cos, sin = cosines_and_sines(given)
    cos, sin = (sin, cos) if form.sines_first else (cos, sin)
    if form.twice or form.once:
        step = 2 if form.twice else 1
        cos, sin = (torch.cat([x[..., ::step]] * 2, dim=-1) for x in (cos, sin))
    sin = -sin if form.extras.backwards else sin
    return cos[0].to(dtype), sin[0].to(dtype)


def _growth(form: DecoderForm, positions: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """What queries are multiplied by at these positions, (T, 1, 1)."""
    if form.growth is None:
        return None
    factor, length = form.growth
    growth_T = 1 + factor * torch.log1p(torch.floor(positions / length))
    return growth_T[:, None, None].to(dtype)


def _taken(angles: Angles, index: torch.Tensor) -> Angles:
    cos, sin = angles
    return taken(cos, index), taken(sin, index)
