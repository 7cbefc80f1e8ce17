"""What the two stacks of an encoder-decoder of T5's family compute, read from its modules.

    h = x + attention(N(x))    z = h + attention(N(h), what the encoder gives)    y = z + mlp(N(z))

T5, its versions 1.1 and FLAN-T5, mT5, ByT5 and umT5 are of this form; what differs between them is
a field of `PairForm`. Reading is generous, since it can be wrong: what was read is tried
(pair_trial.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from brulee.models.fused_layer_norm import eps_of
from brulee.models.fused_swiglu import activation_of
from brulee.models.hooks import additions
from brulee.models.layer_form import children

_STACK = {"embed_tokens", "block", "final_layer_norm", "dropout"}
_MAPS = {"q", "k", "v", "o"}
_BIAS = "relative_attention_bias"
_GATED, _PLAIN = ("wi_0", "wi_1"), ("wi",)


@dataclass(frozen=True)
class PairForm:
    """What differs between models of the form.

    `gate` is the activation of a gated MLP, "" where nothing is gated and the module `act` is
    called; `dropout` the share of values that are dropped in training wherever T5 drops any.
    """

    gate: str
    dropout: float

    @property
    def gate_maps(self) -> tuple[str, ...]:
        """The maps before an MLP's activation."""
        return _GATED if self.gate else _PLAIN


@dataclass(frozen=True)
class Part:
    """One sub-layer: attention within a stack, to the other, or an MLP; and its norm before."""

    own: Any
    norm: Any
    whole: Any


def read_pair_form(model: PreTrainedModel) -> PairForm | None:
    """How this model's stacks look, None where something in them is not known."""
    stacks: list[Any] = [getattr(model, name, None) for name in ("encoder", "decoder")]
    if any(stack is None or _own_children(stack) != _STACK for stack in stacks):
        return None
    blocks = [(block, 2 + at) for at, stack in enumerate(stacks) for block in stack.block]
    if not all(_own_children(b) == {"layer"} and len(b.layer) == n for b, n in blocks):
        return None
    parts = [part for stack in stacks for block in stack.block for part in block.layer]
    found = {_form_of(part) for part in parts}
    if None in found:
        return None
    norms = [*(part.layer_norm for part in parts), *(stack.final_layer_norm for stack in stacks)]
    gates = {form for form in found if isinstance(form, str)}
    shares = {_share(owner) for owner in (*stacks, *parts, *map(_own, parts))}
    if len(gates) != 1 or len(shares) != 1 or not all(map(_is_plain, norms)):
        return None
    return PairForm(gates.pop(), shares.pop())


def parts_of_block(block: Any) -> list[Part]:
    """The sub-layers of a block in their order."""
    return [Part(_own(part), part.layer_norm, part) for part in block.layer]


def places_of(model: PreTrainedModel) -> Iterator[nn.Module]:
    """Where additions are made: what sub-layers call, sub-layers, blocks."""
    for stack in (model.encoder, model.decoder):
        for block in stack.block:
            yield block
            for part in parts_of_block(block):
                yield from (part.own, part.whole)


def _name_of(part: Any) -> str:
    names = ("SelfAttention", "EncDecAttention", "DenseReluDense")
    return next((name for name in names if hasattr(part, name)), "")


def _own(part: Any) -> Any:
    return getattr(part, _name_of(part), None)


def _share(owner: Any) -> float:
    """The share of values that a module drops in training."""
    dropout = owner.dropout
    return float(dropout.p if isinstance(dropout, nn.Dropout) else dropout)


def _form_of(part: Any) -> str | bool | None:
    """Of attention True, of an MLP its gate, None of anything else."""
    name = _name_of(part)
    if not name or _own_children(part) != {name, "layer_norm", "dropout"}:
        return None
    own = _own(part)
    if any(True for _ in own.parameters(recurse=False)):
        return None
    if _attends(own):
        known = _own_children(own) - {_BIAS} == _MAPS and getattr(own, "scaling", 1.0) == 1.0
        return known or None
    if _own_children(own) == {*_PLAIN, "wo", "act", "dropout"}:
        return ""
    if _own_children(own) == {*_GATED, "wo", "act", "dropout"}:
        return activation_of(own.act)
    return None


def _attends(module: Any) -> bool:
    return hasattr(module, "has_relative_attention_bias")


def _is_plain(norm: Any) -> bool:
    """By mean square, with a gain and no bias."""
    weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
    return eps_of(norm) is not None and weight is not None and bias is None


def _own_children(module: nn.Module) -> set[str]:
    """Without the branches that hooks add."""
    branches = {id(hook.branch) for own in module.modules() for hook in additions(own)}
    return {name for name in children(module) if id(module.get_submodule(name)) not in branches}
