"""What only few families have in a layer, read from its modules.

`Extras` is a part of `LayerForm` (layer_form.py), and is read and tested as the rest of it is. What
it says of the MLP and of what follows is computed in fused_extras.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from brulee.models.altup import ALTUP, LAUREL
from brulee.models.angle_form import turns_backwards
from brulee.models.fused_swiglu import activation_of
from brulee.models.layer_factors import NO_FACTORS, Factors, Streams, read_factors, read_streams
from brulee.models.twin import CLIP, WINDOW

_CLIPS = ("clip_qkv",)
_VALUE_NORMS = ("v_norm",)
_SCALARS = ("layer_scalar",)
_MIXERS = ("mamba",)  # beside attention
_OUTPUT_NORMS = ("attn_sub_norm",)
_STREAM = "residual"
# The modules of an addition that is gated by a vector of the token for each layer.
GATE, PROJECTION, PROJECTION_NORM = (
    "per_layer_input_gate",
    "per_layer_projection",
    "post_per_layer_input_norm",
)
_BY_WORDS = {GATE, PROJECTION, PROJECTION_NORM, "act_fn"}
# The modules of experts beside the MLP, and their norms.
ROUTER, EXPERTS = "router", "experts"
BEFORE_EXPERTS, AFTER_EXPERTS, AFTER_PLAIN = (
    "pre_feedforward_layernorm_2",
    "post_feedforward_layernorm_2",
    "post_feedforward_layernorm_1",
)
_ROUTED = {ROUTER, EXPERTS, BEFORE_EXPERTS, AFTER_EXPERTS, AFTER_PLAIN}


@dataclass(frozen=True)
class Extras:
    """What few layers do beside what all do.

    Queries, keys and values are clipped to +-`clip` before anything else (OLMo, OLMoE). Rotary
    embeddings turn `backwards` (nanochat). A merged linear layer has queries, values and keys of
    the heads of one of its `shards` after another (CodeGen). A query sees its `chunk` of the
    document only, or is `tempered` by these two constants (Llama 4; fused_long.py). A `mixer` of
    another kind reads what attention reads, and both outputs are added (Falcon H1). `output_norm`
    and `inner_norm` are norms of the inputs of attention's and of the MLP's last linear layer
    (BitNet). Heads' scores fall with distance by these `slopes`, in `rounded` steps times this
    factor (Falcon RW; alibi.py). The module of attention, or of the MLP, `sums_inside` itself what
    the layer goes on with, so that adapters read the sum (BLOOM). `factors` and `streams` are
    explained in layer_factors.py.

    The others are Gemma 4's. `value_norm` is the name of the norm of values, which are the keys
    before their norm if there is no linear layer for them; a layer may read the keys and values of
    the layer `keys_from` instead of its own. Where it is `routed`, experts with a router read what
    the MLP's norm reads, and both outputs are normalised and added. `words` is the activation of a
    gate for the vector that the token has for this layer, which is added after the MLP. The layer's
    output is multiplied by its buffer `scalar`. Gemma 3n has `several` streams of hidden states
    (altup.py), and closes this share of an MLP's gates (`sparsity`).
    """

    clip: float | None = None
    backwards: bool = False
    shards: int = 0
    chunk: int | None = None
    tempered: tuple[float, float] | None = None
    value_norm: str = ""
    keys_from: int | None = None
    routed: bool = False
    words: str = ""
    scalar: str = ""
    several: bool = False
    sparsity: float = 0.0
    mixer: str = ""
    output_norm: str = ""
    inner_norm: str = ""
    factors: Factors = NO_FACTORS
    streams: Streams | None = None
    slopes: tuple[float, ...] = ()
    rounded: float | None = None
    sums_inside: tuple[bool, bool] = (False, False)

    def as_in_twins(self) -> Extras:
        """The same, with the limits that twins have (twin.py)."""
        tempered = self.tempered and (float(WINDOW), self.tempered[1])
        return replace(
            self,
            clip=self.clip and CLIP,
            chunk=self.chunk and WINDOW,
            tempered=tempered,
            slopes=(0.0,) if self.slopes else (),
        )

    @property
    def of_layer(self) -> set[str]:
        """The names of modules of the layer."""
        named = ({self.mixer} - {""}) | ({ALTUP, LAUREL} if self.several else set())
        return named | (_ROUTED if self.routed else set()) | (_BY_WORDS if self.words else set())

    @property
    def norms(self) -> list[str]:
        """The names of norms of the layer."""
        found = [BEFORE_EXPERTS, AFTER_EXPERTS, AFTER_PLAIN] if self.routed else []
        return [*found, PROJECTION_NORM] if self.words else found


USUAL = Extras()


def read_extras(layer: Any, attention: Any, mlp: Any, before: Sequence[Any]) -> Extras | None:
    """The extras of a layer; None if it needs keys that none of the attentions `before` keeps.

    Its `attention` and `mlp` are None where it lacks them.
    """
    source = None
    if getattr(attention, "is_kv_shared_layer", False):
        kept = [at for at, one in enumerate(before) if _keeps_for(one, attention)]
        if not kept:
            return None
        source = kept[-1]
    own, inside = _children(layer), set() if attention is None else _children(attention)
    gate = activation_of(layer.act_fn) if own >= _BY_WORDS else None
    return Extras(
        clip=_clip(attention),
        backwards=turns_backwards(attention),
        shards=int(getattr(attention, "mp_num", 0)),
        chunk=_chunk(attention, len(before)),
        tempered=_tempered(attention),
        value_norm=next((name for name in _VALUE_NORMS if name in inside), ""),
        keys_from=source,
        routed=own >= _ROUTED,
        words=gate or "",
        several=own >= {ALTUP, LAUREL, *_BY_WORDS},
        sparsity=float(getattr(mlp, "activation_sparsity", 0.0)),
        scalar=next((name for name in _SCALARS if name in layer._buffers), ""),
        mixer=next((n for n in _MIXERS if n in own and getattr(layer, n) is not attention), ""),
        output_norm=next((name for name in _OUTPUT_NORMS if name in inside), ""),
        factors=read_factors(layer, attention, mlp),
        streams=read_streams(layer),
        sums_inside=(_sums(attention), _sums(mlp)),
    )


def _sums(module: Any) -> bool:
    """Whether a module is given the residual stream beside its input."""
    return module is not None and _STREAM in inspect.signature(module.forward).parameters


def _keeps_for(one: Any, attention: Any) -> bool:
    """Whether an attention keeps its keys and values, for those of another's kind."""
    keeps = getattr(one, "store_full_length_kv", False)
    return bool(keeps) and one.layer_type == attention.layer_type


def _chunk(attention: Any, at: int) -> int | None:
    config = getattr(attention, "config", None)
    kinds = getattr(config, "layer_types", None)
    chunk = getattr(config, "attention_chunk_size", None)
    return int(chunk) if chunk and kinds and kinds[at] == "chunked_attention" else None


def _tempered(attention: Any) -> tuple[float, float] | None:
    """Only layers without rotary embeddings are."""
    if not getattr(attention, "attn_temperature_tuning", False) or attention.use_rope:
        return None
    return float(attention.floor_scale), float(attention.attn_scale)


def _clip(attention: Any) -> float | None:
    owners = attention, getattr(attention, "config", None)
    found = [getattr(own, name, None) for own in owners for name in _CLIPS]
    return next((float(one) for one in found if one is not None), None)


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
