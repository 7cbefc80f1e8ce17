"""A description of what a decoder's layers compute.

The fused decoder (fused_decoder.py) runs layers of the form

    h = x + r * N2(attention(N1(x)))        y = h + r * N4(mlp(N3(h)))

where each norm N may be missing and `r` is nearly always 1, or with attention and MLP in parallel,
where N3 may be N1

    y = x + attention(N1(x)) + mlp(N3(x))

or with only one of both.

Everything else that differs between families is a field of `LayerForm`, and the decoder computes
from these fields; no family is recognised by its name (form_reading.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from brulee.models.fused_latent import LatentForm
from brulee.models.layer_extras import USUAL, Extras


@dataclass(frozen=True)
class LayerForm:
    """One layer: the names of its modules, and what it computes.

    Queries, keys and values may come from one merged linear layer (grouped by key head if
    `by_head`), and so may gate and up, or from maps of low rank (`latent`). A norm's gain is its
    weight + `beyond`; `centred` norms subtract the mean. Norms of queries and keys, "" for keys
    that a layer lacks, are per head, or over all heads if `whole`, and come before the rotary
    embedding or `after_angles`. `turns`: the layer has a rotary embedding; `angles` is the layer
    type that its module takes, `neighbours` whether it pairs adjacent values instead of a head's
    halves. The module returns each angle `twice` in a row or `once`, else all of them twice, and
    may return `sines_first`. A query sees `window` keys up to its own, None for all; `cap` is the
    soft cap of scores, `sinks` the name of the heads' sinks (fused_attention.py), `values` what
    values are multiplied by. The map `gated`, which may be that of the queries, gives a gate of
    attention's output, opened by the function `gated_by` (output_gate.py). Where a layer `mixes`,
    tokens are mixed by another module in the place of `attention`, which is called (mixers.py). A
    layer may have no `attention` (""), or no MLP (`feeds`).

    `gate` is the activation of a gated MLP, "" without a gate: then `curve` is the activation, or
    "" if the module `act` has to be called. `mlp` "" means that the layer itself has the MLP's
    linear layers, `down` being the last; `experts` are called as a module, and so is the MLP
    `beside` them. In `parallel`, the MLP reads what attention reads. Dropout probabilities:
    `weights_drop` of attention weights, `inside_drop` of the outputs of attention and MLP before
    adapters' additions, `outside_drop` after them. `extras` are what few families
    have.
    """

    before_attention: str | None
    after_attention: str | None
    before_mlp: str | None
    after_mlp: str | None
    attention_maps: tuple[str, ...]
    gate_maps: tuple[str, ...]
    gate: str
    scale: float
    head_norms: tuple[str, str] | None = None
    whole: bool = False
    after_angles: bool = False
    angles: str | None = None
    turns: bool = True
    neighbours: bool = False
    window: int | None = None
    cap: float | None = None
    residual: float = 1.0
    beyond: float = 0.0
    mlp: str = "mlp"
    experts: bool = False
    beside: str = ""
    down: str = "down_proj"
    act: str = "act_fn"
    centred: bool = False
    parallel: bool = False
    twice: bool = False
    once: bool = False
    sines_first: bool = False
    attention: str = "self_attn"
    out: str = "o_proj"
    by_head: bool = False
    curve: str = ""
    sinks: str = ""
    latent: LatentForm | None = None
    values: float = 1.0
    gated: str = ""
    gated_by: str = ""
    mixes: bool = False
    feeds: bool = True
    weights_drop: float = 0.0
    inside_drop: float = 0.0
    outside_drop: float = 0.0
    extras: Extras = USUAL

    @property
    def has_keys(self) -> bool:
        """Whether the layer computes something of its own that is read from other rows."""
        return bool(self.attention) and self.extras.keys_from is None

    @property
    def drops(self) -> bool:
        """Whether the layer has any dropout."""
        return bool(self.weights_drop or self.inside_drop or self.outside_drop)

    def without_drops(self) -> LayerForm:
        """The same form without dropout."""
        return replace(self, weights_drop=0.0, inside_drop=0.0, outside_drop=0.0)

    @property
    def plain(self) -> bool:
        """Whether the form has no property that a few short documents could fail to show."""
        usual = LayerForm(
            *("input_layernorm", None, "post_attention_layernorm", None),
            *(("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), "silu", self.scale),
            head_norms=self.head_norms,
            act=self.act,
        )
        return self == usual


@dataclass(frozen=True)
class DecoderForm:
    """A decoder's layers, and what happens to the token embeddings before them.

    Embeddings are multiplied by `embedding`, or by the root of their width if that is None. If
    `places` is not None, position embeddings are added, taken from row position + `places`.
    `words_drop` is the dropout probability of the sum. With `growth` (g, n), queries are multiplied
    by 1 + g log(1 + floor(position / n)). With `norms_words`, the norm after the last layer also
    comes before the first.
    """

    layers: tuple[LayerForm, ...]
    embedding: float | None = 1.0
    places: int | None = None
    growth: tuple[float, int] | None = None
    words_drop: float = 0.0
    norms_words: bool = False

    @property
    def drops(self) -> bool:
        """Whether the decoder has any dropout."""
        return bool(self.words_drop) or any(layer.drops for layer in self.layers)

    @property
    def last_with_keys(self) -> int:
        """The last layer that has keys and values of its own."""
        return max(at for at, one in enumerate(self.layers) if one.has_keys)

    @property
    def kept(self) -> set[int]:
        """The layers whose keys and values later ones read."""
        found = {one.extras.keys_from for one in self.layers}
        return {at for at in found if at is not None}

    @property
    def several(self) -> bool:
        """Whether there are several streams of hidden states."""
        return self.layers[0].extras.several

    @property
    def norms(self) -> tuple[float, bool]:
        """What is added to norms' weights to get gains, and whether they subtract the mean."""
        return self.layers[0].beyond, self.layers[0].centred
