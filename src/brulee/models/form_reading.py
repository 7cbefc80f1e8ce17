"""Reads what a decoder's layers compute from the model's modules.

A family with other names for its norms or linear layers needs an entry in a table here. One with a
new property needs a field of `LayerForm`, code that reads it here or in layer_parts.py, and code
that uses it in fused_decoder.py; one that few families have is among layer_extras.py.

Reading may guess wrong: its result is tested (fused_trial.py) on a small model of the same class
that uses every property, and then on the model itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from brulee.models.alibi import read_slopes
from brulee.models.altup import APART, TOGETHER
from brulee.models.angle_form import (
    AngleLayout,
    has_angles,
    read_layout,
    turns,
    turns_neighbours,
)
from brulee.models.experts import expert_modules
from brulee.models.fused_latent import read_latent
from brulee.models.gate_form import read_gate
from brulee.models.hooks import additions
from brulee.models.layer_extras import read_extras
from brulee.models.layer_form import DecoderForm, LayerForm
from brulee.models.layer_parts import (
    Body,
    attention_in,
    attention_of,
    beside_experts,
    children,
    dropouts,
    head_width,
    kind_of_norm,
    mixes,
    mlp_in,
    mlp_of,
    norms_words,
    parts_drop,
    places_of_additions,
    read_body,
    sinks_of,
    weights_drop,
)
from brulee.models.mlp_form import Inner, first_of, read_inner
from brulee.models.text_part import text_body

# By a layer's set of norms: those before and after attention, and before and after the MLP.
_NORMS: dict[frozenset[str], tuple[str | None, str | None, str | None, str | None]] = {
    frozenset(name for name in names if name): names
    for names in (
        ("input_layernorm", None, "post_attention_layernorm", None),
        ("input_layernorm", None, "input_layernorm", None),
        (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
        (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ),
        (
            "input_layernorm",
            "post_self_attn_layernorm",
            "post_attention_layernorm",
            "post_mlp_layernorm",
        ),
        ("attention_layernorm", None, "feedforward_layernorm", None),
        ("input_layernorm", None, "pre_feedforward_layernorm", None),
        ("input_layernorm", "post_norm1", "post_attention_layernorm", "post_norm2"),
        ("ln_1", None, "ln_2", None),
        ("ln_1", None, "ln_1", None),
        ("self_attn_layer_norm", None, "final_layer_norm", None),
        ("ln_attn", None, "ln_mlp", None),
        ("operator_norm", None, "ffn_norm", None),
        ("norm", None, "norm", None),
        ("norm_1", None, "norm_2", None),
        ("input_layernorm", None, "pre_ff_layernorm", None),
        (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_mlp_layernorm",
            "post_mlp_layernorm",
        ),
    )
}
# With these two norms, attention and MLP are parallel.
_SIDE_BY_SIDE = ("ln_attn", "ln_mlp")
# Norms of queries and of keys, and whether they come after the rotary embedding.
_HEAD_NORMS = (
    ("q_norm", "k_norm", False),
    ("query_layernorm", "key_layernorm", True),
    ("q_layernorm", "k_layernorm", False),
    ("qk_norm", "qk_norm", True),
)
_BY_HEAD = ("query_key_value",)
_QUERIES_KEYS_VALUES = (
    *(("q_proj", "k_proj", "v_proj"), ("qkv_proj",), ("Wqkv",), ("c_attn",), _BY_HEAD),
    *(("q_proj", "k_proj"), ("q_proj",)),  # values are keys; keys and values are another layer's
)
_UNSCALED = ("local", "global")
_SCALES = ("scaling", "softmax_scale")
# What an attention multiplies the bias of scores by. It is rounded if that is not 1 (Falcon RW).
_OF_BIAS = "beta"
_NOWHERE = (None, None)  # norms around what a layer lacks
_OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense")
_MULTIPLIERS = ("residual_multiplier", "residual_scale")
# In a configuration's rotary parameters.
_GROWTH = ("llama_4_scaling_beta", "original_max_position_embeddings")


def read_form(model: PreTrainedModel) -> DecoderForm | None:
    """The form of this model's layers; None if they contain anything unknown."""
    body = read_body(model)
    if body is None:
        return None
    kind, config = kind_of_norm(body.norm), model.config.get_text_config()
    found = [
        _layer(layer, body, config, kind, at)
        for at, layer in enumerate(body.layers[: config.num_hidden_layers])
    ]
    layers = tuple(form for form in found if form is not None)
    slopes = read_slopes(model, body) if len(layers) == len(found) else ()
    if slopes:
        pairs = zip(body.layers, layers, strict=False)
        layers = tuple(_sloping(form, layer, slopes) for layer, form in pairs)
    if len(layers) < len(found) or not any(form.has_keys for form in layers):
        return None
    if body.first is not None and kind_of_norm(body.first) != kind:
        return None
    if any(bool(form.extras.words) != (body.words is not None) for form in layers):
        return None
    apart = body.words is not None and children(body.words) >= {APART, TOGETHER}
    if any(form.extras.several != apart for form in layers):
        return None
    scale = None
    if not getattr(config, "mup_enabled", False):  # Afmoe
        scale = float(getattr(text_body(model), "embedding_multiplier", 1.0))
    places = None if body.places is None else int(getattr(body.places, "offset", 0))
    around = scale, places, _growth(config), body.words_drop, norms_words(model, body)
    return DecoderForm(layers, *around)


def _sloping(form: LayerForm, layer: Any, slopes: tuple[float, ...]) -> LayerForm:
    """The form of a layer whose scores have a bias instead of rotary embeddings."""
    times = float(getattr(attention_in(layer, form.attention), _OF_BIAS, 1.0))
    extras = replace(form.extras, slopes=slopes, rounded=None if times == 1.0 else times)
    return replace(form, turns=False, extras=extras)


def _growth(config: Any) -> tuple[float, int] | None:
    """How queries grow with positions (Ministral 3, Mistral 4); None if they do not."""
    said = getattr(config, "rope_parameters", None) or {}
    factor, length = (said.get(key) for key in _GROWTH)
    return (float(factor), int(length)) if factor and length else None


def _layer(
    layer: Any, body: Body, config: Any, kind: tuple[float, bool] | None, at: int
) -> LayerForm | None:
    attention, mlp, drops = attention_of(layer) or "", mlp_of(layer), parts_drop(layer)
    if drops is None or (mlp is None and not attention):
        return None
    inside = None if mlp is None else mlp_in(layer, mlp)
    experts = inside is not None and bool(expert_modules(inside))
    inner = Inner((), "") if experts or inside is None else read_inner(inside)
    if inner is None:
        return None
    beside = beside_experts(layer, mlp or "") if experts else ""
    before = [getattr(each, attention, None) for each in [*body.layers][:at]]
    own = attention_in(layer, attention) if attention else None
    extras = read_extras(layer, own, inside, before)
    if extras is None:
        return None
    named = {mlp or "", beside} if mlp != "" else {*inner.maps, inner.down, inner.act}
    names = _names(layer, attention, named | extras.of_layer)
    norms = [getattr(layer, name) for name in (*(names or ()), *extras.norms) if name]
    norms += [getattr(inside, inner.norm)] if inner.norm else []
    if names is None or any(kind_of_norm(norm) != kind for norm in norms):
        return None
    names = (*(names[:2] if attention else _NOWHERE), *(_NOWHERE if mlp is None else names[2:]))
    found = LayerForm(
        *names,
        attention_maps=(),
        gate_maps=inner.maps,
        gate=inner.gate,
        scale=1.0,
        turns=False,
        residual=_multiplier(layer),
        beyond=kind[0] if kind else 0.0,
        mlp=mlp or "",
        feeds=mlp is not None,
        experts=experts,
        beside=beside,
        down=inner.down,
        act=inner.act,
        centred=kind is not None and kind[1],
        parallel=_side_by_side(layer, names),
        attention=attention,
        mixes=bool(attention) and mixes(attention, config, at),
        curve=inner.curve,
        inside_drop=drops[0],
        outside_drop=drops[1],
        extras=replace(extras, inner_norm=inner.norm),
    )
    attends = attention and not found.mixes
    return _attending(found, layer, body, config, kind, at) if attends else found


def _attending(
    found: LayerForm,
    layer: Any,
    body: Body,
    config: Any,
    kind: tuple[float, bool] | None,
    at: int,
) -> LayerForm | None:
    """The form with what its attention computes."""
    own, extras = attention_in(layer, found.attention), found.extras
    sinks, width, latent = sinks_of(own), head_width(own), read_latent(own)
    maps = latent.maps if latent else first_of(own, _QUERIES_KEYS_VALUES)
    out = next((name for name in _OUTPUTS if name in children(own)), "")
    if sinks is None or maps is None or not out or width is None:
        return None
    if (extras.keys_from is not None) != (maps == _QUERIES_KEYS_VALUES[-1]):
        return None
    body = body if has_angles(config, at) else replace(body, angles=None)
    said = AngleLayout() if body.angles is None else read_layout(body.angles, body.like, config, at)
    if said is None:
        return None
    opened = ("", "") if latent else read_gate(own, maps, out, body, said.kind)
    if opened is None:
        return None
    inner_norms = latent.norms if latent else ()
    norms = [*inner_norms, extras.value_norm, extras.output_norm]
    others = children(own) - dropouts(own) - {*maps, *norms, out, opened[0]}
    heads = _head_norms(others, extras.keys_from is None)
    if others and heads is None:
        return None
    head_norms = heads[:2] if heads else None
    norms += head_norms or ()
    if any(kind_of_norm(getattr(own, name)) != kind for name in norms if name):
        return None
    turned = body.angles is not None and turns(own, body.angles, body.like, said.kind)
    return replace(
        found,
        attention_maps=maps,
        scale=_scale(own, width),
        head_norms=head_norms,
        whole=head_norms is not None and _is_whole(getattr(own, head_norms[0]), width),
        after_angles=bool(heads and heads[2]),
        angles=said.kind,
        turns=turned,
        neighbours=said.polar or turns_neighbours(own),
        twice=said.twice,
        once=said.once,
        sines_first=said.sines_first,
        window=_window(own, config, at),
        cap=getattr(own, "attn_logit_softcapping", None),
        out=out,
        by_head=maps == _BY_HEAD,
        gated=opened[0],
        gated_by=opened[1],
        sinks=sinks,
        latent=latent,
        values=float(getattr(own, "v_scale", 1.0)),
        weights_drop=weights_drop(own),
    )


def _head_norms(names: set[str], keys: bool) -> tuple[str, str, bool] | None:
    """The entry of `_HEAD_NORMS` with these names; "" for the norm of keys that a layer lacks."""
    entries = _HEAD_NORMS if keys else [(of_q, "", late) for of_q, _, late in _HEAD_NORMS]
    return next((entry for entry in entries if names == {*entry[:2]} - {""}), None)


def _scale(attention: Any, width: int) -> float:
    """What scores are multiplied by: GPT-Neo, whose attentions are of these types, does not."""
    usual = 1.0 if getattr(attention, "attention_type", "") in _UNSCALED else width**-0.5
    return next((float(getattr(attention, n)) for n in _SCALES if hasattr(attention, n)), usual)


def _is_whole(norm: Any, width: int) -> bool:
    """Whether a norm is over all heads."""
    weight = getattr(norm, "weight", None)
    return weight is not None and len(weight) != width


_Names = tuple[str | None, str | None, str | None, str | None]


def _names(layer: Any, attention: str, of_mlp: set[str]) -> _Names | None:
    """A layer's norms; None if it has other modules than known ones, adapters and dropout."""
    branches = {id(hook.branch) for m in places_of_additions(layer) for hook in additions(m)}
    others = children(layer) - dropouts(layer) - of_mlp - {attention}
    known = {name for name in others if id(getattr(layer, name)) in branches}
    return _NORMS.get(frozenset(others - known))


def _multiplier(layer: Any) -> float:
    """The factor of what attention and MLP add."""
    return next((float(getattr(layer, n)) for n in _MULTIPLIERS if hasattr(layer, n)), 1.0)


def _side_by_side(layer: Any, names: _Names) -> bool:
    """Whether attention and MLP are parallel, after the same norm or one each."""
    told = bool(getattr(layer, "use_parallel_residual", False))
    return names[0] == names[2] is not None or (names[0], names[2]) == _SIDE_BY_SIDE or told


def _window(attention: Any, config: Any, at: int) -> int | None:
    """How many keys a query sees, from the module or else from the configuration."""
    if getattr(attention, "attention_type", "") in _UNSCALED:
        return int(config.window_size) if attention.attention_type == _UNSCALED[0] else None
    kinds = getattr(config, "layer_types", None)
    if hasattr(attention, "sliding_window"):
        slides = getattr(attention, "is_sliding", True)
    else:
        slides = kinds is None or kinds[at] == "sliding_attention"
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    return int(window) if slides and window else None
