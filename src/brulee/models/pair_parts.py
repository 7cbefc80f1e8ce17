"""The description of an encoder-decoder's stacks: a `PairForm`, and a list of `Part` per block.

Two kinds of stack are supported, T5's (pair_form.py) and BART's (pair_form_bart.py). `PairForm` has
what all blocks share, a `Part` describes one sub-layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from brulee.models.hooks import Prefixes, additions, renormings
from brulee.models.layer_parts import children


@dataclass(frozen=True)
class PairForm:
    """What differs between models, the same for all blocks.

    `gate` is the activation of a gated MLP, "" without a gate; then the activation module is
    called. Dropout probabilities: `dropout` of the outputs of embeddings and sub-layers, `inner` of
    the MLP's activations, `weights` of attention weights, `last` of the output of a stack's last
    norm. `centred` norms subtract the mean; norms come `after` the residual addition (post-norm),
    or before the sub-layer.
    """

    gate: str
    dropout: float
    inner: float
    weights: float
    last: float = 0.0
    centred: bool = False
    after: bool = False


@dataclass(frozen=True)
class Part:
    """One sub-layer (self-attention, cross-attention or MLP) and its norm.

    `maps` are the linear layers: query, key, value and output, or those before an MLP's activation
    `act` and the one after it. Adapters may add to the output of `own` and, if it is not None, of
    `whole`, which includes the residual addition. Scores are multiplied by `scale`.
    """

    own: Any
    norm: Any
    maps: tuple[Any, ...]
    whole: Any = None
    act: Any = None
    heads: int = 1
    scale: float = 1.0


def stacks_of(model: PreTrainedModel) -> tuple[Any, Any]:
    """The encoder and the decoder."""
    return model.get_encoder(), model.get_decoder()


def own_children(module: nn.Module) -> set[str]:
    """The names of a module's children, without prefixes and the branches that hooks add."""
    inside = list(module.modules())
    added = {id(hook.branch) for own in inside for hook in additions(own)}
    added |= {id(hook.branch) for own in inside for hook in renormings(own)}
    added |= {id(own) for own in module.children() if isinstance(own, Prefixes)}
    return {name for name in children(module) if id(module.get_submodule(name)) not in added}


def share_of(owner: Any) -> float:
    """The dropout probability of a module."""
    dropout = owner.dropout
    return float(dropout.p if isinstance(dropout, nn.Dropout) else dropout)
