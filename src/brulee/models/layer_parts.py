"""Find the parts of a decoder among its modules, and their dropout probabilities.

    body     token embeddings, position embeddings if any, a norm after them if any (BLOOM),
             layers, the norm after the last layer, the rotary embedding if any
    layer    attention, an MLP, norms; the MLP may be two linear layers of the layer itself (OPT),
             and a layer may have only one of both (Nemotron H)

Families name them differently. The parts of a body are recognised by their types (the rotary
embedding by its name); in a layer, the attention module and the MLP are recognised by their names.
If something is mistaken for something else, the trial (fused_trial.py) notices.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.models.altup import APART, TOGETHER
from brulee.models.angle_form import of_rows
from brulee.models.fused_layer_norm import eps_of, width_of
from brulee.models.hooks import STAND_IN, Prefixes
from brulee.models.text_part import body_with_inputs, text_body

# Modules in the place of attention that mix tokens in another way.
_MIXERS = ("linear_attn", "conv", "mamba")
_WITH_STATES = ("linear_attention", "mamba")  # layer types
_ATTENTIONS = ("self_attn", "attn", "attention", "self_attention", *_MIXERS)
# The only sublayer of a layer, whichever it is (Nemotron H).
_LONE = "mixer"
_MLPS = ("mlp", "block_sparse_moe", "feed_forward", "shared_mlp", "ffn")
# The name of an MLP of all tokens, if it is not inside the module with the experts.
_BESIDE_EXPERTS = "shared_mlp"
_OF_THE_LAYER = ("fc1", "fc2")
_ANGLES = ("rotary_emb", "pos_emb")
_WIDTHS = ("head_dim", "head_size", "qk_head_dim")
_HEADS = ("num_heads", "num_attention_heads", "n_heads")
_SINKS = ("sinks",)
# The modules of a body that make a vector of each token for each layer.
_WORDS_BY_LAYER = (
    "embed_tokens_per_layer",
    "per_layer_model_projection",
    "per_layer_projection_norm",
)
_EPSILON = 1e-5  # of a norm that does not tell; it is lost in what is compared
# The names of dropout probabilities in modules: numbers, or nn.Dropout modules.
_OF_WORDS = ("embedding_dropout",)
_OF_WEIGHTS = ("attn_dropout", "attention_dropout", "dropout")
_OF_ATTENTION = ("resid_dropout", "residual_dropout")
_OF_MLP = ("dropout", "residual_dropout")
_OF_LAYER = ("dropout",)


@dataclass(frozen=True)
class Body:
    """The parts of a decoder's body; `words_drop` is the dropout of the first layer's input.

    `like` (D) is a row of hidden states' width, dtype and device. `words` is the module that makes
    a vector of each token for each layer (Gemma 4), `first` the norm before the first layer, if
    there is one.
    """

    layers: nn.ModuleList
    norm: nn.Module
    angles: nn.Module | None
    places: nn.Embedding | None
    words_drop: float
    like: torch.Tensor
    words: Any
    first: nn.Module | None = None


def body_of(model: PreTrainedModel) -> Any:
    """The module that contains the layers."""
    body = text_body(model)
    return body.decoder if children(body) == {"decoder"} else body


def read_body(model: PreTrainedModel) -> Body | None:
    """The parts of a model's body; None if it contains anything unknown."""
    body = body_of(model)
    if text_body(model) is model or float(getattr(body, "layerdrop", 0.0)) > 0:
        return None  # layers are skipped at random
    words = model.get_input_embeddings()
    by_layer = body if children(body) >= {*_WORDS_BY_LAYER} else None
    without = {*_WORDS_BY_LAYER, APART, TOGETHER} if by_layer is not None else set()
    named = [(name, m) for name, m in body.named_children() if name not in without]
    own = [m for _, m in named if m is not words and not isinstance(m, Prefixes)]
    layers = [m for m in own if isinstance(m, nn.ModuleList)]
    norms = [m for m in own if kind_of_norm(m) is not None]
    firsts = [m for m in norms if layers and own.index(m) < own.index(layers[0])]
    norms = [m for m in norms if m not in firsts] if len(norms) > 1 else norms
    firsts = [] if firsts == norms else firsts
    angles = [m for name in _ANGLES for m in own if m is getattr(body, name, None)]
    places = [m for m in own if isinstance(m, nn.Embedding)]
    drops = [m for m in own if isinstance(m, nn.Dropout)]
    sizes = [len(found) for found in (layers, norms, angles, places, drops, firsts)]
    if len(own) != sum(sizes) or sizes[:2] != [1, 1] or max(sizes) > 1:
        return None
    share = max([float(m.p) for m in drops] + _shares(body, _OF_WORDS), default=0.0)
    like_D = getattr(norms[0], "weight", None)
    like_D = words.weight[0] if like_D is None else like_D
    turns = _first(angles)
    turns = None if turns is None else of_rows(turns, like_D, model.config.get_text_config())
    found = layers[0], norms[0], turns, _first(places), share, like_D, by_layer
    return Body(*found, _first(firsts))


def layers_of(model: PreTrainedModel) -> list[Any]:
    """The layers of a model; [] if its body contains anything unknown."""
    body = read_body(model)
    return [] if body is None else list(body.layers)


def attention_of(layer: Any) -> str | None:
    """The name of a layer's attention module, or of the mixer in its place; None without one."""
    found = next((name for name in _ATTENTIONS if name in children(layer)), None)
    return _LONE if found is None and _lone_is_told_apart(layer) else found


def attention_in(layer: Any, name: str) -> Any:
    """The module that has attention's linear layers, which GPT-Neo puts into one more."""
    found = getattr(layer, name)
    inside = [getattr(found, n) for n in _ATTENTIONS if children(found) == {n}]
    return inside[0] if inside else found


def mixes(name: str, config: Any, at: int) -> bool:
    """Whether the module of this name in layer `at` mixes tokens in another way than attention."""
    kinds = getattr(config, "layer_types", None)
    return name in _MIXERS or bool(kinds and kinds[at] in _WITH_STATES)


def mlp_of(layer: Any) -> str | None:
    """The name of a layer's MLP; "" if the layer itself has its two linear layers, None if none."""
    found = next((name for name in _MLPS if name in children(layer)), None)
    if found is None and _LONE in children(layer) and not _lone_is_told_apart(layer):
        return _LONE
    return "" if found is None and children(layer) >= {*_OF_THE_LAYER} else found


def _lone_is_told_apart(layer: Any) -> bool:
    """Whether a layer's only sublayer keeps documents or padding apart, which an MLP need not."""
    own = getattr(layer, _LONE, None)
    return own is not None and "attention_mask" in inspect.signature(own.forward).parameters


def beside_experts(layer: Any, mlp: str) -> str:
    """The name of the MLP whose output is added to that of a layer's experts; "" if none."""
    return _BESIDE_EXPERTS if _BESIDE_EXPERTS in children(layer) - {mlp} else ""


def mlp_in(layer: Any, name: str) -> Any:
    """The module that has the MLP's linear layers."""
    return getattr(layer, name) if name else layer


def added_to(layer: Any) -> Any:
    """The module to whose output adapters of the MLP add: the MLP, or else its last layer."""
    name = mlp_of(layer)
    return getattr(layer, name) if name else getattr(layer, _OF_THE_LAYER[-1], layer)


def places_of_additions(layer: Any) -> tuple[nn.Module, ...]:
    """The modules to whose outputs adapters may add."""
    attention = attention_of(layer)
    return layer, *([getattr(layer, attention)] if attention else []), added_to(layer)


def head_width(attention: Any) -> int | None:
    """The width of a head's queries and keys."""
    return _number(attention, _WIDTHS)


def heads_of(attention: Any) -> int | None:
    """The number of query heads."""
    own = _number(attention, _HEADS)
    return own or _number(getattr(attention, "config", None), _HEADS)


def sinks_of(attention: Any) -> str | None:
    """The name of the sinks of heads, "" if there are none; None if it has other parameters."""
    named = attention.named_parameters(recurse=False)
    own = {name.removesuffix(STAND_IN) for name, _ in named}
    return None if own - {*_SINKS} else "".join(own)


def weights_drop(attention: Any) -> float:
    """The dropout probability of attention weights."""
    return max(_shares(attention, _OF_WEIGHTS), default=0.0)


def parts_drop(layer: Any) -> tuple[float, float] | None:
    """Dropout of the outputs of attention and MLP: inside these modules, and by the layer.

    None if it differs between the two.
    """
    attention, mlp = attention_of(layer), mlp_of(layer)
    inside = {_largest(attention_in(layer, attention), _OF_ATTENTION)} if attention else set()
    if mlp:
        inside |= {_largest(getattr(layer, mlp), _OF_MLP)}
    elif any(inside) and mlp is not None:
        return None
    own = {float(m.p) for m in layer.children() if isinstance(m, nn.Dropout)}
    outside = own | {*_shares(layer, _OF_LAYER)} or {0.0}
    return (inside.pop(), outside.pop()) if len(inside) == len(outside) == 1 else None


def children(module: nn.Module) -> set[str]:
    """The names of a module's direct children."""
    return {name for name, _ in module.named_children()}


def dropouts(module: nn.Module) -> set[str]:
    """The names of a module's children that are nn.Dropout."""
    return {name for name, own in module.named_children() if isinstance(own, nn.Dropout)}


def kind_of_norm(norm: Any) -> tuple[float, bool] | None:
    """The offset (0 or 1) from a norm's weight to its gain, and whether it subtracts the mean.

    The gain of a norm without a weight is one, which is no offset.
    """
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    eps, width = eps_of(norm) or _EPSILON, width_of(norm)
    if width is None:
        return None
    like = torch.ones(width) if weight is None else weight
    own = torch.linspace(-2, 3, width, device=like.device).to(like.dtype)
    x = own.float()
    with torch.no_grad():
        given, wide = norm(own).float(), like.float()
        for centred in (False, True):
            off = x - x.mean() if centred else x
            unit = off * (off.square().mean() + eps).rsqrt()
            for beyond in (0.0,) if weight is None else (0.0, 1.0):
                made = unit * (wide + beyond) + (0.0 if bias is None else bias.float())
                if torch.allclose(given, made, rtol=0.02, atol=0.02 * centred):
                    return beyond, centred
    return None


@torch.no_grad()
def norms_words(model: PreTrainedModel, body: Body) -> bool:
    """Whether the norm after the last layer also comes before the first (nanochat).

    Only a norm without a weight is looked at, in a pass over one token.
    """
    if getattr(body.norm, "weight", None) is not None:
        return False
    calls: list[nn.Module] = []
    handle = body.norm.register_forward_hook(lambda norm, *_: calls.append(norm))
    try:
        body_with_inputs(model)(
            input_ids=torch.zeros(1, 1, dtype=torch.long, device=body.like.device), use_cache=False
        )
    finally:
        handle.remove()
    return len(calls) > 1


def _shares(owner: Any, names: tuple[str, ...]) -> list[float]:
    found = [getattr(owner, name, None) for name in names]
    shares = [one.p if isinstance(one, nn.Dropout) else one for one in found]
    return [float(share) for share in shares if isinstance(share, float | int)]


def _largest(owner: Any, names: tuple[str, ...]) -> float:
    return max(_shares(owner, names), default=0.0)


def _number(owner: Any, names: tuple[str, ...]) -> int | None:
    return next((int(getattr(owner, name)) for name in names if hasattr(owner, name)), None)


def _first(found: list[Any]) -> Any:
    return found[0] if found else None
