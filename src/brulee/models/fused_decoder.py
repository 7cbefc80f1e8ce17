"""The forward pass of a decoder over a pack, for training, from a description of its layers.

Most decoders that people tune are variations of Llama. The differences are read from the modules
(form_reading.py) and tested: the pass has to give the same hidden states as the model itself on the
same documents (fused_trial.py). It is faster because it computes projections of one input together
(fused_projection.py), a common beginning of documents once (spans.py) and the last layer only for
learned positions, and saves nothing that the backward pass does not need. An unknown module in the
place of a linear layer is called as it is.

Shapes: `T` rows of the pack, `Q` rows that the last layer computes, `N` learned positions, `D`
width, `H` query heads, `K` key heads, `W` head width.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from brulee.data.batching import Batch
from brulee.models import altup
from brulee.models.alibi import wider, with_places
from brulee.models.attention_maps import taken
from brulee.models.context import free_length
from brulee.models.dropping import dropped
from brulee.models.form_reading import read_form
from brulee.models.fused_attention import attend
from brulee.models.fused_extras import scaled, with_words, words_of_layers
from brulee.models.fused_feed_forward import feed_forward
from brulee.models.fused_heads import heads
from brulee.models.fused_layer_norm import normed, normed_again
from brulee.models.fused_long import in_chunks, tempered
from brulee.models.fused_projection import Again, project
from brulee.models.fused_rope import even_first
from brulee.models.fused_rows import STEP, Rows, rows_of
from brulee.models.fused_trial import (
    LONGEST,
    errors_of,
    form_is_right,
    hooks_are_known,
    shaken_by,
)
from brulee.models.held import Held, format_of
from brulee.models.hooks import (
    KeysAndValues,
    Prefixes,
    Refreshes,
    before_layers,
    owners,
    with_additions,
)
from brulee.models.layer_factors import blended, multiplied
from brulee.models.layer_form import DecoderForm, LayerForm
from brulee.models.layer_parts import (
    Body,
    attention_in,
    head_width,
    read_body,
)
from brulee.models.mixers import mixed
from brulee.models.output_gate import gated_output, gated_output_again
from brulee.models.prepared import Prepared, prepare
from brulee.models.rounding import filled, step_of
from brulee.models.rounding_trial import only_round


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
    def widths(self) -> set[int]:
        """The widths of layers' heads."""
        forms = self.form.layers
        layers = zip(self._body.layers[: len(forms)], forms, strict=True)
        found = [(attention_in(x, form.attention), form) for x, form in layers if form.attention]
        device = self.model.get_input_embeddings().weight.device
        plain = [
            (head_width(attention) or 1, bool(form.extras.slopes)) for attention, form in found
        ]
        return {wider(width, device) if sloping else width for width, sloping in plain}

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
        body, forms = self._body, self.form.layers
        hidden_TD, words = self._begun(body, prepared)
        hidden_TD = altup.begun(body.words, hidden_TD) if self.form.several else hidden_TD
        self.held = self.held.within(format_of(hidden_TD))
        hidden_TD = filled(hidden_TD, step_of(hidden_TD, STEP, self.held.dtype))
        hidden_TD = self._dropped(hidden_TD, self.form.words_drop)
        if body.first is not None:
            hidden_TD = self._wide(body, "first", hidden_TD)
        if self.form.norms_words:
            hidden_TD = self._norm(body.norm, hidden_TD).to(hidden_TD.dtype)
        every, asked = rows_of(self.form, body, hidden_TD, prepared, self.held.dtype)
        before, kept = self._before(), dict[int, KeysAndValues]()
        # After the last layer with keys of its own, nothing reads any rows but the asked ones.
        turn = self.form.last_with_keys
        for at, (layer, form) in enumerate(zip(body.layers[: len(forms)], forms, strict=True)):
            rows = every if at < turn else asked
            rows = replace(rows, before=before[at], words=self._words(words, at, rows.index))
            rows = replace(rows, index=None) if at > turn else rows
            source = form.extras.keys_from
            rows = rows if source is None else replace(rows, kept=kept[source])
            hidden_TD, made = self._layer(layer, form, hidden_TD, rows, at in self.form.kept)
            if made is not None:
                kept[at] = made
        hidden_ND = hidden_TD.index_select(0, prepared.learned)
        hidden_ND = altup.ended(body.words, hidden_ND) if self.form.several else hidden_ND
        return self._norm(body.norm, hidden_ND)

    def _before(self) -> list[KeysAndValues | None]:
        """The prefix of each layer with keys of its own."""
        own = [form.has_keys for form in self.form.layers]
        found = iter(before_layers(self._prefixes, sum(own), self.held.dtype))
        return [next(found) if has_keys else None for has_keys in own]

    def _words(
        self, words: tuple[torch.Tensor, ...], at: int, index: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The tokens' vectors for a layer, of its query rows."""
        return taken(words[at], index) if words else None

    def _begun(
        self, body: Body, prepared: Prepared
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Token embeddings, scaled, plus position embeddings if the model has them, (T, D).

        Also the tokens' vectors for each layer, (T, P), if there are any.
        """
        hidden_TD: torch.Tensor = self.model.get_input_embeddings()(prepared.ids[None])[0]
        words: tuple[torch.Tensor, ...] = ()
        if body.words is not None:
            step = step_of(hidden_TD, STEP, format_of(hidden_TD))
            words = words_of_layers(body.words, prepared.ids, hidden_TD, step)
        if self.form.embedding != 1.0:
            hidden_TD = hidden_TD * (self.form.embedding or hidden_TD.shape[1] ** 0.5)
        if body.places is None or self.form.places is None:
            return hidden_TD, words
        at_T = prepared.positions + self.form.places
        return hidden_TD + F.embedding(at_T, body.places.weight).to(hidden_TD.dtype), words

    def _layer(
        self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor, rows: Rows, keeps: bool
    ) -> tuple[torch.Tensor, KeysAndValues | None]:
        """The layer's output, and its keys and values with the prefix, if it `keeps` them."""
        if not (self.recomputes and torch.is_grad_enabled()):
            return self._through(layer, form, hidden_TD, rows, keeps)
        found: tuple[torch.Tensor, KeysAndValues | None] = checkpoint(
            self._through, layer, form, hidden_TD, rows, keeps, use_reentrant=False
        )
        return found

    def _through(
        self, layer: Any, form: LayerForm, hidden_TD: torch.Tensor, rows: Rows, keeps: bool
    ) -> tuple[torch.Tensor, KeysAndValues | None]:
        given_QD, keys, streams = taken(hidden_TD, rows.index), None, form.extras.streams
        every_TSD = hidden_TD
        if form.extras.several:
            every_TSD, hidden_TD = altup.predicted(layer, hidden_TD)
        hidden_QD = taken(hidden_TD, rows.index) if form.extras.several else given_QD
        stream_QD = hidden_QD
        if form.attention:
            x_TD, again = self._read(layer, form.before_attention, hidden_TD)
            if streams is not None:
                stream_QD = self._wide(layer, form.before_attention, hidden_QD)
            mixed_QD, keys = self._attention(layer, form, x_TD, again, rows, stream_QD)
            mixed_QD = self._dropped(mixed_QD, form.outside_drop)
            mixed_QD = self._named(layer, form.after_attention, mixed_QD)
            stream_QD = _sum(stream_QD, mixed_QD, form, streams.attention if streams else None)
            if form.extras.several:
                stream_QD = altup.beside(layer, taken(x_TD, rows.index), stream_QD)
        if form.feeds:
            read_QD = hidden_QD if form.parallel else stream_QD
            x_QD, again = self._read(layer, form.before_mlp, read_QD)
            if streams is not None:
                stream_QD = self._wide(layer, form.before_mlp, read_QD)
            share, by = self._now(form.inside_drop), (self.held, self._norm, self._read)
            given = x_QD, again, stream_QD, share, self.recomputes
            made_QD = feed_forward(layer, form, read_QD, *given, *by)
            made_QD = self._dropped(made_QD, form.outside_drop)
            made_QD = self._named(layer, form.after_mlp, made_QD)
            stream_QD = _sum(stream_QD, made_QD, form, streams.mlp if streams else None)
        if form.extras.several:
            stream_QD = altup.corrected(layer, taken(every_TSD, rows.index), stream_QD)
        if rows.words is not None and form.extras.words:
            how = form.extras, stream_QD, rows.words, self._norm, self.held, self.recomputes
            stream_QD = with_words(layer, *how)
        stream_QD = scaled(layer, form.extras, stream_QD)
        return with_additions(layer, given_QD, stream_QD), keys if keeps else None

    def _attention(
        self,
        layer: Any,
        form: LayerForm,
        x_TD: torch.Tensor,
        again: Again | None,
        rows: Rows,
        stream_QD: torch.Tensor,
    ) -> tuple[torch.Tensor, KeysAndValues | None]:
        outer, own = getattr(layer, form.attention), attention_in(layer, form.attention)
        factors, beside_QD = form.extras.factors, None
        if rows.apart is not None and (form.mixes or form.extras.mixer):
            # Called as a module, with its hooks.
            mixer = own if form.mixes else getattr(layer, form.extras.mixer)
            rest = len(x_TD if rows.index is None else rows.index)
            beside_QD = mixed(mixer, x_TD, rows.apart, rest)
            if form.mixes:
                return beside_QD, None
        x_TD, again = multiplied(x_TD, again, factors.reads)
        by = self.held, self._norm, self._read
        q_QHW, k_TKW, v_TKW, gate_QHG = heads(own, form, x_TD, again, rows, *by)
        q_QHW = q_QHW if rows.growth is None else q_QHW * rows.growth
        v_TKW = v_TKW if form.values == 1.0 else v_TKW * form.values
        if rows.before is not None:
            before_PKW, values_PKW = rows.before
            if form.turns and form.neighbours:
                before_PKW = even_first(before_PKW, rows.key_angles[form.angles][0].shape[1])
            k_TKW, v_TKW = _behind(before_PKW, k_TKW), _behind(values_PKW, v_TKW)
        if rows.places is not None:
            bias = form.extras.slopes, form.scale, rows.places, form.extras.rounded
            q_QHW, k_TKW = with_places(q_QHW, k_TKW, *bias)
        share = self._now(form.weights_drop)
        sinks_H = getattr(own, form.sinks) if form.sinks else None
        q_QHW = tempered(q_QHW, rows.reading, form.extras.tempered, rows.long)
        seen = in_chunks(k_TKW, v_TKW, rows.reading, form.extras.chunk, rows.long)
        steep = bool(form.extras.slopes)
        mixed_QHW = attend(q_QHW, *seen, form.scale, form.window, form.cap, share, sinks_H, steep)
        mixed_again: Again | None = None
        if gate_QHG is not None:
            opened = mixed_QHW, gate_QHG, form.gated_by
            mixed_again = None if self.recomputes else gated_output_again(*opened)
            mixed_QHW = gated_output(*opened)
        mixed_QE = mixed_QHW.flatten(1)
        if form.extras.output_norm:
            mixed_QE, mixed_again = self._read(own, form.extras.output_norm, mixed_QE)
        (mixed_QD,) = project(mixed_QE, [getattr(own, form.out)], self.held, mixed_again)
        mixed_QD = self._dropped(mixed_QD, form.inside_drop)
        inside_QD = stream_QD if form.extras.sums_inside[0] else None
        mixed_QD = with_additions(outer, taken(x_TD, rows.index), mixed_QD, inside_QD)
        if beside_QD is not None:
            mixed_QD = blended(beside_QD, mixed_QD, (factors.mixed, factors.attended))
        return mixed_QD, (k_TKW, v_TKW)

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

    def _wide(self, layer: Any, name: str | None, x: torch.Tensor) -> torch.Tensor:
        """The normalised input of attention or MLP, in the dtype of the stream."""
        form = self.form
        return x if name is None else normed(getattr(layer, name), x, *form.norms, x.dtype)

    def _named(self, layer: Any, name: str | None, x: torch.Tensor) -> torch.Tensor:
        return x if name is None else self._norm(getattr(layer, name), x)

    def _norm(self, own: Any, x: torch.Tensor) -> torch.Tensor:
        return normed(own, x, *self.form.norms, self.held.dtype)

    def _norm_again(self, own: Any, x: torch.Tensor) -> Again | None:
        if self.recomputes:
            return None  # the whole layer is recomputed; this would keep its input alive
        return normed_again(own, x, *self.form.norms, self.held.dtype)


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
        shaken = partial(shaken_by, model)
        return found if only_round(errors, found.held.dtype, shaken) else None
    finally:
        model.train(training)
        found.held.renew()


def _behind(before_PHW: torch.Tensor, own_TKW: torch.Tensor) -> torch.Tensor:
    """Keys or values after a prefix's; repeated per query head if the prefix has those.

    This is the case for Falcon models with several key heads.
    """
    times = before_PHW.shape[1] // own_TKW.shape[1]
    return torch.cat([before_PHW, own_TKW.repeat_interleave(times, 1) if times > 1 else own_TKW])


def _sum(
    x: torch.Tensor, made: torch.Tensor, form: LayerForm, times: tuple[float, float] | None
) -> torch.Tensor:
    return blended(x, made, (1.0, form.residual) if times is None else times)
