"""What a description of an encoder-decoder's stacks consists of: one form, and parts by the block.

Two kinds of stack are known, T5's (pair_form.py) and BART's (pair_form_bart.py). What all blocks
have in common is a field of `PairForm`; what a block is made of is a list of `Part`.
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
    """What differs between models.

    `gate` is the activation of a gated MLP, "" where nothing is gated and a module is called. Four
    shares of values are dropped in training: `dropout` of what embeddings and sub-layers give,
    `inner` of what an MLP's activation gives, `weights` of attention's, `last` of what a stack's
    last norm gives. Norms take off the mean where they are `centred`, and stand `after` a sub-layer
    and its sum, or before it.
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
    """One sub-layer: attention within a stack, to the other, or an MLP; and its norm.

    `maps` are those of queries, keys, values and of what was read, or those before an MLP's
    activation `act` and the one after it. Additions are made to what `own` makes and, where it is
    a module, to what the sub-layer gives, `whole`. Scores are multiplied with `scale`.
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
    """The names of a module's own modules, without prefixes and the branches that hooks add."""
    inside = list(module.modules())
    added = {id(hook.branch) for own in inside for hook in additions(own)}
    added |= {id(hook.branch) for own in inside for hook in renormings(own)}
    added |= {id(own) for own in module.children() if isinstance(own, Prefixes)}
    return {name for name in children(module) if id(module.get_submodule(name)) not in added}


def share_of(owner: Any) -> float:
    """The share of values that a module drops in training."""
    dropout = owner.dropout
    return float(dropout.p if isinstance(dropout, nn.Dropout) else dropout)
