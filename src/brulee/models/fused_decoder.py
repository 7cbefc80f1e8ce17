"""The forward pass of a decoder over a pack, for training, from a description of its layers.

Most decoders that people tune are variations of Llama. The differences are read from the modules
(layer_form.py) and tested: the pass has to give the same hidden states as the model itself on the
same documents (fused_trial.py). It is faster because it computes projections of one input together
(fused_projection.py), a common beginning of documents once (spans.py) and the last layer only for
learned positions, and saves nothing that the backward pass does not need. An unknown module in the
place of a linear layer is called as it is.

Shapes: `T` rows of the pack, `Q` rows that the last layer computes, `N` learned positions, `D`
width, `H` query heads, `K` key heads, `W` head width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from brulee.data.batching import Batch
from brulee.models.angle_form import cosines_and_sines
from brulee.models.context import free_length
from brulee.models.dropping import dropped
from brulee.models.fused_activation import activated
from brulee.models.fused_attention import Reading, attend
from brulee.models.fused_latent import latent_heads, turned_heads
from brulee.models.fused_layer_norm import normed, normed_again
from brulee.models.fused_projection import Again, project
from brulee.models.fused_rope import even_first, rotate
from brulee.models.fused_swiglu import gated, gated_again
from brulee.models.fused_trial import LONGEST, errors_of, form_is_right, hooks_are_known, only_round
from brulee.models.held import Held
from brulee.models.hooks import (
    KeysAndValues,
    Prefixes,
    Refreshes,
    before_layers,
    owners,
    with_additions,
)
from brulee.models.layer_form import DecoderForm, LayerForm, read_form
from brulee.models.layer_parts import Body, added_to, head_width, heads_of, mlp_in, read_body
from brulee.models.prepared import Prepared, prepare
from brulee.models.rounding import filled, step_of

# The rows of a pack, and those of its last layer, are padded to a multiple of these (rounding.py).
STEP, LAST_STEP = 64, 32


_Angles = tuple[torch.Tensor, torch.Tensor]  # rotary cosines and sines, one row per token


@dataclass(frozen=True)
class _Rows:
    """A layer's query rows, attention spans, rotary angles of queries and keys, and prefix.

    Rotary angles are by layer type. `growth` is a factor of queries, None for 1.
    """

    index: torch.Tensor | None  # (Q) among the T rows, None for all
    reading: Reading
    query_angles: dict[str | None, _Angles]
    key_angles: dict[str | None, _Angles]
    growth: torch.Tensor | None  # (Q, 1, 1)
    before: KeysAndValues | None = None  # the prefix, (P, K, W)


class FusedDecoder:
    """Runs a model of a given form; `held` has its trained weights in the dtype of the products.

    With `recomputes`, a layer saves only its input and is recomputed in the backward pass (Chen et
    al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    """

    def __init__(self, model: PreTrainedModel, form: DecoderForm) -> None:
        self.model, self.form = model, form
        # Searched once, since a model has about a thousand modules.
        body = read_body(model)
        assert body is not None, "the form is of its layers"
        self._body = body
        self.held = Held(model.dtype, owners(model, Refreshes))
        self.recomputes = False
        self._prefixes: list[Prefixes] = owners(model, Prefixes)

    @property
    def width(self) -> int:
        """The width of a head."""
        return head_width(getattr(self._body.layers[0], self.form.layers[0].attention)) or 1

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D)."""
        return self.hidden(self.prepared(batch))

    def prepared(self, batch: Batch) -> Prepared:
        """The inputs of the pass over a pack, on the pack's device."""
        return prepare(batch, sum(p.count for p in self._prefixes))

    def hidden(self, prepared: Prepared) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D).

        On a GPU, nothing in it synchronises with the device or depends on more than the sizes of
        the inputs, so that it can be captured as a CUDA graph and replayed (training/captured.py).
        """
        body = self._body
        hidden_TD = self._begun(body, prepared)
        self.held = self.held.within(format_of(hidden_TD))
        hidden_TD = filled(hidden_TD, step_of(hidden_TD, STEP, self.held.dtype))
        hidden_TD = self._dropped(hidden_TD, self.form.words_drop)
        every, asked = self._rows(body, hidden_TD, prepared)
        forms = self.form.layers
        before = before_layers(self._prefixes, len(forms), self.held.dtype)
        layers = list(zip(body.layers[: len(forms)], forms, before, strict=True))
        for layer, form, own in layers[:-1]:
            hidden_TD = self._layer(layer, form, hidden_TD, _after(own, every))
        layer, form, own = layers[-1]
        hidden_QD = self._layer(layer, form, hidden_TD, _after(own, asked))
        return self._norm(body.norm, hidden_QD.index_select(0, prepared.learned))

    def _begun(self, body: Body, prepared: Prepared) -> torch.Tensor:
        """Token embeddings, scaled, plus position embeddings if the model has them, (T, D)."""
        hidden_TD: torch.Tensor = self.model.get_input_embeddings()(prepared.ids[None])[0]
        if self.form.embedding != 1.0:
            hidden_TD = hidden_TD * self.form.embedding
        if body.places is None or self.form.places is None:
            return hidden_TD
        at_T = prepared.positions + self.form.places
        return hidden_TD + F.embedding(at_T, body.places.weight).to(hidden_TD.dtype)

    def _rows(self, body: Body, hidden_TD: torch.Tensor, prepared: Prepared) -> tuple[_Rows, _Rows]:
        """The rows for all layers but the last, and those for the last."""
        positions = filled(prepared.positions, step_of(hidden_TD, STEP, self.held.dtype))
        angles = {
            form.angles: self._angles(body, hidden_TD, positions, form)
            for form in {form.angles: form for form in self.form.layers if form.turns}.values()
        }
        growth = self._growth(positions)
        every = _Rows(None, prepared.every, angles, angles, growth)
        # Padded with the pack's last row; nothing reads the result.
        index = prepared.index
        more = -len(index) % step_of(hidden_TD, LAST_STEP, self.held.dtype)
        index = F.pad(index, (0, more), value=len(hidden_TD) - 1) if more else index
        last = self.form.layers[-1]
        asked = {}
        if last.turns:
            cos, sin = angles[last.angles]
            asked = {last.angles: (_taken(cos, index), _taken(sin, index))}
        of_asked = None if growth is None else _taken(growth, index)
        return every, _Rows(index, prepared.last, asked, angles, of_asked)

    def _angles(
        self, body: Body, hidden_TD: torch.Tensor, positions: torch.Tensor, form: LayerForm
    ) -> _Angles:
        assert body.angles is not None, "of layers that turn"
        own = {} if form.angles is None else {"layer_type": form.angles}
        given = body.angles(hidden_TD[None], position_ids=positions[None], **own)
        cos, sin = cosines_and_sines(given)
        cos, sin = (sin, cos) if form.sines_first else (cos, sin)
        if form.twice or form.once:
            step = 2 if form.twice else 1
            cos, sin = (torch.cat([x[..., ::step]] * 2, dim=-1) for x in (cos, sin))
        return cos[0].to(self.held.dtype), sin[0].to(self.held.dtype)

    def _growth(self, positions: torch.Tensor) -> torch.Tensor | None:
        """What queries are multiplied by at these positions, (T, 1, 1)."""
        if self.form.growth is None:
            return None
        factor, length = self.form.growth
        growth_T = 1 + factor * torch.log1p(torch.floor(positions / length))
        return growth_T[:, None, None].to(self.held.dtype)

    def _layer(
        self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor, rows: _Rows
    ) -> torch.Tensor:
        if not (self.recomputes and torch.is_grad_enabled()):
            return self._through(layer, form, hidden_TD, rows)
        found: torch.Tensor = checkpoint(
            self._through, layer, form, hidden_TD, rows, use_reentrant=False
        )
        return found

    def _through(
        self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor, rows: _Rows
    ) -> torch.Tensor:
        mixed_QD = self._dropped(self._attention(layer, form, hidden_TD, rows), form.outside_drop)
        hidden_QD = _taken(hidden_TD, rows.index)
        stream_QD = _sum(hidden_QD, self._named(layer, form.after_attention, mixed_QD), form)
        made_QD = self._mlp(layer, form, hidden_QD if form.parallel else stream_QD)
        made_QD = self._dropped(made_QD, form.outside_drop)
        stream_QD = _sum(stream_QD, self._named(layer, form.after_mlp, made_QD), form)
        return with_additions(layer, hidden_QD, stream_QD)

    def _attention(
        self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor, rows: _Rows
    ) -> torch.Tensor:
        own = getattr(layer, form.attention)
        x_TD, again = self._read(layer, form.before_attention, hidden_TD)
        q_QHW, k_TKW, v_TKW = self._heads(own, form, x_TD, again, rows)
        q_QHW = q_QHW if rows.growth is None else q_QHW * rows.growth
        v_TKW = v_TKW if form.values == 1.0 else v_TKW * form.values
        if rows.before is not None:
            before_PKW, values_PKW = rows.before
            if form.turns and form.neighbours:
                before_PKW = even_first(before_PKW, rows.key_angles[form.angles][0].shape[1])
            k_TKW, v_TKW = _behind(before_PKW, k_TKW), _behind(values_PKW, v_TKW)
        share = self._now(form.weights_drop)
        sinks_H = getattr(own, form.sinks) if form.sinks else None
        how = (rows.reading, form.scale, form.window, form.cap, share, sinks_H)
        mixed_QHW = attend(q_QHW, k_TKW, v_TKW, *how)
        (mixed_QD,) = project(mixed_QHW.flatten(1), [getattr(own, form.out)], self.held)
        mixed_QD = self._dropped(mixed_QD, form.inside_drop)
        return with_additions(own, _taken(x_TD, rows.index), mixed_QD)

    def _heads(
        self, own: Any, form: LayerForm, x_TD: torch.Tensor, again: Again | None, rows: _Rows
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (Q, H, W), keys (T, K, W) and values (T, K, W), which may be narrower."""
        if form.latent is not None:
            how = (form.latent, heads_of(own) or 1, x_TD, again, rows.index, self.held, self._read)
            q, k, v, r = latent_heads(own, *how)
            of_q, of_k = rows.query_angles[form.angles], rows.key_angles[form.angles]
            return *turned_heads(q, k, r, of_q, of_k, form.neighbours), v
        q, k, v = self._queries_keys_values(own, form, x_TD, again, rows.index)
        q_QHW, k_TKW = self._turned(own, form, q, k, rows)
        return q_QHW, k_TKW, v.view(*k_TKW.shape[:2], -1)

    def _queries_keys_values(
        self,
        own: Any,
        form: LayerForm,
        x_TD: torch.Tensor,
        again: Again | None,
        index: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        """Queries of the rows `index`, keys and values of all rows, with heads concatenated."""
        maps = [getattr(own, name) for name in form.attention_maps]
        if index is None and len(maps) == 3:
            return project(x_TD, maps, self.held, again)
        if len(maps) == 3:
            (q,) = project(_taken(x_TD, index), maps[:1], self.held)
            return q, *project(x_TD, maps[1:], self.held)
        (all_TO,) = project(x_TD, maps, self.held, again)
        width, heads = head_width(own) or 1, heads_of(own) or 1
        keys = (all_TO.shape[1] // width - heads) // 2
        if form.by_head:
            all_TKGW = all_TO.view(len(all_TO), keys, -1, width)
            q, k, v = all_TKGW.split_with_sizes([all_TKGW.shape[2] - 2, 1, 1], dim=2)
            return _taken(q.flatten(1), index), k.flatten(1), v.flatten(1)
        width *= keys
        q, k, v = all_TO.split_with_sizes([all_TO.shape[1] - 2 * width, width, width], dim=1)
        return _taken(q, index), k, v

    def _turned(
        self, own: Any, form: LayerForm, q: torch.Tensor, k: torch.Tensor, rows: _Rows
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (Q, H, W) and keys (T, K, W), normalised and rotated."""
        if form.whole:
            q, k = self._head_norms(own, form, q, k)
        q, k = (x.view(len(x), -1, head_width(own) or 1) for x in (q, k))
        if not (form.whole or form.after_angles):
            q, k = self._head_norms(own, form, q, k)
        if form.turns:
            of_q, of_k = rows.query_angles[form.angles], rows.key_angles[form.angles]
            q, k = rotate(q, *of_q, form.neighbours), rotate(k, *of_k, form.neighbours)
        return self._head_norms(own, form, q, k) if form.after_angles else (q, k)

    def _head_norms(
        self, own: Any, form: LayerForm, q: torch.Tensor, k: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if form.head_norms is None:
            return q, k
        of_q, of_k = (getattr(own, name) for name in form.head_norms)
        return self._norm(of_q, q), self._norm(of_k, k)

    def _mlp(self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor) -> torch.Tensor:
        own = mlp_in(layer, form.mlp)
        x_TD, again = self._read(layer, form.before_mlp, hidden_TD)
        if form.experts:  # called as a module, with its hooks and its own router
            made = own(x_TD[None])
            made_TD: torch.Tensor = (made[0] if isinstance(made, tuple) else made)[0]
            return made_TD
        halves = project(x_TD, [getattr(own, name) for name in form.gate_maps], self.held, again)
        if form.gate and len(halves) == 1:  # made contiguous once, not in each function
            halves = tuple(half.contiguous() for half in halves[0].chunk(2, dim=1))
        inner_again: Again | None
        if form.gate:
            gate, up = halves
            inner_TF, inner_again = gated(gate, up, form.gate), gated_again(gate, up, form.gate)
        else:
            inner_TF, inner_again = activated(getattr(own, form.act), halves[0], form.curve)
        inner_again = None if self.recomputes else inner_again
        (out_TD,) = project(inner_TF, [getattr(own, form.down)], self.held, inner_again)
        out_TD = self._dropped(out_TD, form.inside_drop)
        return with_additions(added_to(layer), x_TD, out_TD)

    def _dropped(self, x: torch.Tensor, share: float) -> torch.Tensor:
        return dropped(x, self._now(share))

    def _now(self, share: float) -> float:
        """The dropout probability now: 0 outside training mode."""
        return share if self.model.training else 0.0

    def _read(
        self, layer: Any, name: str | None, x: torch.Tensor
    ) -> tuple[torch.Tensor, Again | None]:
        """The input of attention or MLP, and a function that recomputes it."""
        if name is None:
            return x, None
        own = getattr(layer, name)
        return self._norm(own, x), self._norm_again(own, x)

    def _named(self, layer: Any, name: str | None, x: torch.Tensor) -> torch.Tensor:
        return x if name is None else self._norm(getattr(layer, name), x)

    def _norm(self, own: Any, x: torch.Tensor) -> torch.Tensor:
        return normed(own, x, self.form.beyond, self.form.centred, self.held.dtype)

    def _norm_again(self, own: Any, x: torch.Tensor) -> Again | None:
        if self.recomputes:
            return None  # the whole layer is recomputed; this would keep its input alive
        return normed_again(own, x, self.form.beyond, self.form.centred, self.held.dtype)


def fused_decoder(model: PreTrainedModel) -> FusedDecoder | None:
    """The fused pass for this model; None if it is not known to give the same results."""
    form = read_form(model)
    if form is None or not hooks_are_known(model):
        return None
    if any(layer.latent for layer in form.layers) and owners(model, Prefixes):
        return None  # the prefix may be of latents, as the model caches them
    if free_length(model, LONGEST) < LONGEST:
        return None  # the test documents do not fit into the context
    if not form_is_right(model, form, FusedDecoder):
        return None
    found = FusedDecoder(model, form)
    found.held.renew()  # a method's weights may have been loaded since the last pass
    training = model.training
    model.eval()
    try:
        errors = errors_of(found, model)  # the first pass also sets the dtype of `held`
        return found if only_round(errors, found.held.dtype) else None
    finally:
        model.train(training)
        found.held.renew()


def _after(before: KeysAndValues | None, rows: _Rows) -> _Rows:
    return rows if before is None else replace(rows, before=before)


def _behind(before_PHW: torch.Tensor, own_TKW: torch.Tensor) -> torch.Tensor:
    """Keys or values after a prefix's; repeated per query head if the prefix has those.

    This is the case for Falcon models with several key heads.
    """
    times = before_PHW.shape[1] // own_TKW.shape[1]
    return torch.cat([before_PHW, own_TKW.repeat_interleave(times, 1) if times > 1 else own_TKW])


def _sum(x: torch.Tensor, made: torch.Tensor, form: LayerForm) -> torch.Tensor:
    return x + made if form.residual == 1.0 else torch.add(x, made, alpha=form.residual)


def _taken(x_TD: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    return x_TD if rows is None else x_TD.index_select(0, rows)


def format_of(hidden: torch.Tensor) -> torch.dtype:
    """The dtype of the products: autocast's if it is on, else that of the hidden states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
