"""What the layers of a decoder compute, described once, read from a model's modules.

A layer that the fused decoder (fused_decoder.py) knows is

    h = x + r * N2(attention(N1(x)))        y = h + r * N4(mlp(N3(h)))

where each norm N may be missing, and `r` is 1 nearly always; or with both parts side by side

    y = x + attention(N1(x)) + mlp(N1(x))

What else differs between families is a field of `LayerForm`, and the decoder computes from the
fields; no family is known by its name. A family with other names for its norms is an entry of
`_NORMS` or `_HEAD_NORMS`, one with another property a field, what reads it here, and what computes
it there.

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
from brulee.models.fused_layer_norm import eps_of
from brulee.models.fused_swiglu import activation_of
from brulee.models.hooks import Prefixes, additions

_BODY = {"embed_tokens", "layers", "norm", "rotary_emb"}
# By what norms a layer has: those before and after attention, and before and after the MLP.
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
    )
}
# Norms of queries and of keys, and whether they are turned before.
_HEAD_NORMS = (("q_norm", "k_norm", False), ("query_layernorm", "key_layernorm", True))
_QUERIES_KEYS_VALUES = (("q_proj", "k_proj", "v_proj"), ("qkv_proj",))
_GATES = (("gate_proj", "up_proj"), ("gate_up_proj",))
_WITHOUT_GATE = (("up_proj", "down_proj"), ("c_fc", "c_proj"))
_MLPS = ("mlp", "block_sparse_moe")
_ACTIVATIONS = ("act_fn", "activation_fn", "act")


@dataclass(frozen=True)
class LayerForm:
    """Modules by their names in a layer; one map may make queries, keys and values, or both gates.

    `beyond` is what the weights of norms are counted from, `centred` whether those take off the
    mean. Norms of queries and keys are over a head or over `whole` rows, and come before their
    positions' angles or `after_angles`; `angles` is what the rotary module has to be asked for,
    `turns` whether there are any, `neighbours` whether they turn a head's values in pairs side by
    side, `twice` whether the module says each angle twice in a row. A query sees `window` keys up
    to its own, or all; `cap` bends the scores (fused_attention.py). `gate` is the MLP's activation,
    "" where nothing is gated and the module `act` is called; `down` is its last map; a module `mlp`
    of `experts` has neither that nor maps that are known, and is called as it is. In `parallel`
    attention and MLP read the same.
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
    down: str = "down_proj"
    act: str = "act_fn"
    centred: bool = False
    parallel: bool = False
    twice: bool = False

    @property
    def plain(self) -> bool:
        """Whether what modules are there says all, so that a few short documents can judge it."""
        usual = LayerForm(
            *("input_layernorm", None, "post_attention_layernorm", None),
            *(_QUERIES_KEYS_VALUES[0], _GATES[0], "silu", self.scale),
            head_norms=self.head_norms,
            act=self.act,
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

    @property
    def centred(self) -> bool:
        """Whether norms take off the mean."""
        return self.layers[0].centred


def read_form(model: PreTrainedModel) -> Form | None:
    """How this model's layers look, None where something in them is not known."""
    body = model.base_model
    if body is model:
        return None
    prefixes = {name for name, module in body.named_children() if isinstance(module, Prefixes)}
    if children(body) != _BODY | prefixes:
        return None
    beyond = _kind_of_norm(body.norm)
    depth = model.config.num_hidden_layers
    found = [_layer(layer, body, beyond, at) for at, layer in enumerate(body.layers[:depth])]
    layers = tuple(form for form in found if form is not None)
    if beyond is None or len(layers) < len(found) or not layers:
        return None
    return Form(layers, float(getattr(body, "embedding_multiplier", 1.0)))


def _layer(layer: Any, body: Any, kind: tuple[float, bool] | None, at: int) -> LayerForm | None:
    mlp = _mlp_of(layer)
    if mlp is None or "self_attn" not in children(layer):
        return None
    own, inside = layer.self_attn, getattr(layer, mlp)
    if any(True for _ in own.parameters(recurse=False)):  # sinks of gpt-oss
        return None
    experts = bool(expert_modules(inside))
    names, inner = _names(layer), _Inner((), "") if experts else _inner(inside)
    maps = _first(own, _QUERIES_KEYS_VALUES)
    if names is None or inner is None or maps is None or not hasattr(own, "scaling"):
        return None
    heads = [entry for entry in _HEAD_NORMS if children(own) == {*maps, "o_proj", *entry[:2]}]
    if not heads and children(own) != {*maps, "o_proj"}:
        return None
    head_norms = heads[0][:2] if heads else None
    norms = [getattr(layer, name) for name in names if name]
    norms += [getattr(own, name) for name in head_norms or ()]
    if not hasattr(own, "head_dim") or any(_kind_of_norm(norm) != kind for norm in norms):
        return None
    return LayerForm(
        *names,
        attention_maps=maps,
        gate_maps=inner.maps,
        gate=inner.gate,
        scale=float(own.scaling),
        head_norms=head_norms,
        whole=head_norms is not None and _wider(own, head_norms[0]),
        after_angles=bool(heads and heads[0][2]),
        angles=_angles(body, at),
        turns=_turns(own),
        neighbours=_turns_neighbours(own),
        twice=_says_twice(body, _angles(body, at)),
        window=_window(own, body.config, at),
        cap=getattr(own, "attn_logit_softcapping", None),
        residual=float(getattr(layer, "residual_multiplier", 1.0)),
        beyond=kind[0] if kind else 0.0,
        mlp=mlp,
        experts=experts,
        down=inner.down,
        act=inner.act,
        centred=kind is not None and kind[1],
        parallel=names[0] == names[2] is not None,
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


@dataclass(frozen=True)
class _Inner:
    """The maps before an MLP's activation and after it, and what that is."""

    maps: tuple[str, ...]
    gate: str
    down: str = "down_proj"
    act: str = "act_fn"


def _inner(mlp: Any) -> _Inner | None:
    """A gated MLP, or one of two maps."""
    acts, own = [name for name in _ACTIVATIONS if hasattr(mlp, name)], children(mlp)
    if len(acts) != 1:
        return None
    maps = _first(mlp, _GATES)
    gate = activation_of(getattr(mlp, acts[0]))
    if maps is not None:
        known = own == {*maps, "down_proj", acts[0]} and gate is not None
        return _Inner(maps, gate or "", act=acts[0]) if known else None
    two = next((names for names in _WITHOUT_GATE if own == {*names, acts[0]}), None)
    return None if two is None else _Inner(two[:1], "", two[1], acts[0])


def _first(module: nn.Module, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
    return next((names for names in choices if children(module) >= {*names}), None)


def children(module: nn.Module) -> set[str]:
    """The names of a module's own modules."""
    return {name for name, _ in module.named_children()}


def _kind_of_norm(norm: Any) -> tuple[float, bool] | None:
    """What a norm's weight is counted from, 0 or 1, and whether it takes off the mean."""
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    eps = eps_of(norm)
    if eps is None or getattr(weight, "ndim", 0) != 1 or weight is None:
        return None
    own = torch.linspace(-2, 3, len(weight), device=weight.device).to(weight.dtype)
    x = own.float()
    with torch.no_grad():
        given, wide = norm(own).float(), weight.float()
        for centred in (False, True):
            off = x - x.mean() if centred else x
            unit = off * (off.square().mean() + eps).rsqrt()
            for beyond in (0.0, 1.0):
                made = unit * (wide + beyond) + (0.0 if bias is None else bias.float())
                if torch.allclose(given, made, rtol=0.02, atol=0.02 * centred):
                    return beyond, centred
    return None


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


def _says_twice(body: Any, kind: str | None) -> bool:
    """Whether an angle stands beside itself, and not half a row further (Cohere)."""
    own = {} if kind is None else {"layer_type": kind}
    weight = body.embed_tokens.weight
    at = torch.full((1, 1), 7, device=weight.device)
    with torch.no_grad():
        cos_W = body.rotary_emb(weight[None, :1], position_ids=at, **own)[0][0, 0]
    first, second = cos_W.chunk(2)
    return torch.equal(cos_W[::2], cos_W[1::2]) and not torch.equal(first, second)


def _window(attention: Any, config: Any, at: int) -> int | None:
    """How many keys a query sees, by the module or else by the configuration."""
    kinds = getattr(config, "layer_types", None)
    if hasattr(attention, "sliding_window"):
        slides = getattr(attention, "is_sliding", True)
    else:
        slides = kinds is None or kinds[at] == "sliding_attention"
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    return int(window) if slides and window else None
