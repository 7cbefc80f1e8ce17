"""What the layers of a decoder compute, described once, read from a model's modules.

A layer that the fused decoder (fused_decoder.py) knows is

    h = x + r * N2(attention(N1(x)))        y = h + r * N4(mlp(N3(h)))

where each norm N may be missing, and `r` is 1 nearly always. What else differs between families is
a field of `LayerForm`, and the decoder computes from the fields; no family is known by its name. A
family with other names for its norms is an entry of `_NORMS` or `_HEAD_NORMS`, one with another
property a field, what reads it here, and what computes it there.

Reading is generous, since it can be wrong: what was read is tried (fused_trial.py) on a small model
of the same class that uses every property, and then on the model.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.models.experts import expert_modules
from brulee.models.fused_swiglu import activation_of
from brulee.models.hooks import Prefixes, additions

_BODY = {"embed_tokens", "layers", "norm", "rotary_emb"}
# By what norms a layer has: those before and after attention, and before and after the MLP.
_NORMS: dict[frozenset[str], tuple[str | None, str | None, str | None, str | None]] = {
    frozenset(name for name in names if name): names
    for names in (
        ("input_layernorm", None, "post_attention_layernorm", None),
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
    )
}
# Norms of queries and of keys, and whether they are turned before.
_HEAD_NORMS = (("q_norm", "k_norm", False), ("query_layernorm", "key_layernorm", True))
_QUERIES_KEYS_VALUES = (("q_proj", "k_proj", "v_proj"), ("qkv_proj",))
_GATES = (("gate_proj", "up_proj"), ("gate_up_proj",))
_MLPS = ("mlp", "block_sparse_moe")
_EPSILONS = ("variance_epsilon", "eps")
_ACTIVATIONS = ("act_fn", "activation_fn")


@dataclass(frozen=True)
class LayerForm:
    """Modules by their names in a layer; one map may make queries, keys and values, or both gates.

    `beyond` is what the weights of norms are counted from. Norms of queries and keys are over a
    head or over `whole` rows, and come before their positions' angles or `after_angles`; `angles`
    is what the rotary module has to be asked for, `turns` whether there are any, `neighbours`
    whether they turn a head's values in pairs side by side. A query sees `window` keys up to its
    own, or all; `cap` bends the scores (fused_attention.py). `gate` is the MLP's activation; a
    module `mlp` of `experts` has neither that nor maps that are known, and is called as it is.
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

    @property
    def plain(self) -> bool:
        """Whether what modules are there says all, so that a few short documents can judge it."""
        usual = LayerForm(
            *("input_layernorm", None, "post_attention_layernorm", None),
            *(_QUERIES_KEYS_VALUES[0], _GATES[0], "silu", self.scale),
            head_norms=self.head_norms,
        )
        return self == usual


@dataclass(frozen=True)
class Form:
    """A decoder's layers, and what its embeddings are multiplied with by the decoder itself."""

    layers: tuple[LayerForm, ...]
    embedding: float = 1.0

    @property
    def beyond(self) -> float:
        """What the weights of norms are counted from."""
        return self.layers[0].beyond


def read_form(model: PreTrainedModel) -> Form | None:
    """How this model's layers look, None where something in them is not known."""
    body = model.base_model
    if body is model:
        return None
    prefixes = {name for name, module in body.named_children() if isinstance(module, Prefixes)}
    if children(body) != _BODY | prefixes:
        return None
    beyond = _beyond(body.norm)
    depth = model.config.num_hidden_layers
    found = [_layer(layer, body, beyond, at) for at, layer in enumerate(body.layers[:depth])]
    layers = tuple(form for form in found if form is not None)
    if beyond is None or len(layers) < len(found) or not layers:
        return None
    return Form(layers, float(getattr(body, "embedding_multiplier", 1.0)))


def _layer(layer: Any, body: Any, beyond: float | None, at: int) -> LayerForm | None:
    mlp = _mlp_of(layer)
    if mlp is None or "self_attn" not in children(layer):
        return None
    own, inside = layer.self_attn, getattr(layer, mlp)
    if any(True for _ in own.parameters(recurse=False)):  # sinks of gpt-oss
        return None
    experts = bool(expert_modules(inside))
    names, inner = _names(layer), ((), "") if experts else _inner(inside)
    maps = _first(own, _QUERIES_KEYS_VALUES)
    if names is None or inner is None or maps is None or not hasattr(own, "scaling"):
        return None
    heads = [entry for entry in _HEAD_NORMS if children(own) == {*maps, "o_proj", *entry[:2]}]
    if not heads and children(own) != {*maps, "o_proj"}:
        return None
    head_norms = heads[0][:2] if heads else None
    norms = [getattr(layer, name) for name in names if name]
    norms += [getattr(own, name) for name in head_norms or ()]
    if not hasattr(own, "head_dim") or any(_beyond(norm) != beyond for norm in norms):
        return None
    return LayerForm(
        *names,
        attention_maps=maps,
        gate_maps=inner[0],
        gate=inner[1],
        scale=float(own.scaling),
        head_norms=head_norms,
        whole=head_norms is not None and _wider(own, head_norms[0]),
        after_angles=bool(heads and heads[0][2]),
        angles=_angles(body, at),
        turns=_turns(own),
        neighbours=_turns_neighbours(own),
        window=_window(own, body.config, at),
        cap=getattr(own, "attn_logit_softcapping", None),
        residual=float(getattr(layer, "residual_multiplier", 1.0)),
        beyond=beyond or 0.0,
        mlp=mlp,
        experts=experts,
    )


def _mlp_of(layer: Any) -> str | None:
    return next((name for name in _MLPS if name in children(layer)), None)


def _names(layer: Any) -> tuple[str | None, str | None, str | None, str | None] | None:
    """The norms of a layer that has nothing else but what its hooks add, and dropout of nothing."""
    branches = {id(hook.branch) for module in places(layer) for hook in additions(module)}
    others = children(layer) - {"self_attn", _mlp_of(layer)}
    known = {name for name in others if id(getattr(layer, name)) in branches}
    idle = {name for name in others if getattr(getattr(layer, name), "p", None) == 0}
    dropouts = {name for name in idle if isinstance(getattr(layer, name), nn.Dropout)}
    return _NORMS.get(frozenset(others - known - dropouts))


def places(layer: Any) -> tuple[nn.Module, ...]:
    """Where additions are made."""
    return layer, layer.self_attn, getattr(layer, _mlp_of(layer) or "mlp")


def _inner(mlp: Any) -> tuple[tuple[str, ...], str] | None:
    """The maps before a gated MLP's activation, and the activation."""
    maps, acts = _first(mlp, _GATES), [name for name in _ACTIVATIONS if hasattr(mlp, name)]
    if maps is None or len(acts) != 1 or children(mlp) != {*maps, "down_proj", acts[0]}:
        return None
    gate = activation_of(getattr(mlp, acts[0]))
    return None if gate is None else (maps, gate)


def _first(module: nn.Module, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
    return next((names for names in choices if children(module) >= {*names}), None)


def children(module: nn.Module) -> set[str]:
    """The names of a module's own modules."""
    return {name for name, _ in module.named_children()}


def _beyond(norm: Any) -> float | None:
    """0 or 1 where the module is a root-mean-square norm with such a weight, else None."""
    weight: Any = getattr(norm, "weight", None)
    if getattr(weight, "ndim", 0) != 1 or getattr(norm, "bias", None) is not None:
        return None
    if not any(hasattr(norm, name) for name in _EPSILONS):
        return None
    x = torch.linspace(-2, 3, len(weight), device=weight.device)
    with torch.no_grad():
        unit, given = x * (x.square().mean() + eps_of(norm)).rsqrt(), norm(x).float()
        tried = {beyond: unit * (weight.float() + beyond) for beyond in (0.0, 1.0)}
    return next((b for b, y in tried.items() if torch.allclose(given, y, rtol=0.02)), None)


def eps_of(norm: Any) -> float:
    """What a norm adds to the mean of squares."""
    return next(float(getattr(norm, name)) for name in _EPSILONS if hasattr(norm, name))


def _wider(attention: Any, norm: str) -> bool:
    return len(getattr(attention, norm).weight) != int(attention.head_dim)


def _angles(body: Any, at: int) -> str | None:
    """The kind of layer that the rotary module wants to know, None where it has one for all."""
    if "layer_type" not in inspect.signature(body.rotary_emb.forward).parameters:
        return None
    return str(body.config.layer_types[at])


def _turns(attention: Any) -> bool:
    """No in layers that say so, and in those that see all where others see a window (Exaone 4)."""
    sees_all = not getattr(attention, "is_sliding", True)
    return bool(getattr(attention, "use_rope", not (sees_all and attention.sliding_window)))


def _turns_neighbours(attention: Any) -> bool:
    """By what the file that has the module turns with: no module says so."""
    turn: Callable[[torch.Tensor], torch.Tensor] | None
    turn = getattr(sys.modules.get(type(attention).__module__), "rotate_half", None)
    return turn is not None and turn(torch.arange(4.0)).tolist() == [-1.0, 0.0, -3.0, 2.0]


def _window(attention: Any, config: Any, at: int) -> int | None:
    """How many keys a query sees, by the module or else by the configuration."""
    kinds = getattr(config, "layer_types", None)
    if hasattr(attention, "sliding_window"):
        slides = getattr(attention, "is_sliding", True)
    else:
        slides = kinds is None or kinds[at] == "sliding_attention"
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    return int(window) if slides and window else None
