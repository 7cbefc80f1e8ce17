"""Read from an encoder-decoder's modules what its two stacks compute: T5's form, or BART's.

    h = x + attention(N(x))    z = h + attention(N(h), encoder output)    y = z + mlp(N(z))

T5, T5 1.1, FLAN-T5, mT5, ByT5 and umT5 have this form; that of BART and its relatives is in
pair_form_bart.py. What differs between models is a field of `PairForm`. Reading may guess wrong:
its result is tested (pair_trial.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from brulee.models.fused_layer_norm import eps_of
from brulee.models.fused_swiglu import activation_of
from brulee.models.pair_form_bart import bart_parts, read_bart_form
from brulee.models.pair_parts import PairForm, Part, own_children, share_of, stacks_of

_STACK = {"embed_tokens", "block", "final_layer_norm", "dropout"}
_MAPS = ("q", "k", "v", "o")
_BIAS = "relative_attention_bias"
_GATED, _PLAIN = ("wi_0", "wi_1"), ("wi",)


def read_pair_form(model: PreTrainedModel) -> PairForm | None:
    """The form of this model's stacks; None if they contain anything unknown."""
    return _read_t5_form(model) or read_bart_form(model)


def blocks_of_stack(stack: Any) -> list[Any]:
    """A stack's blocks, in order."""
    return list(stack.block if hasattr(stack, "block") else stack.layers)


def parts_of_block(block: Any) -> list[Part]:
    """The sub-layers of a block, in order."""
    return [_part(part) for part in block.layer] if hasattr(block, "layer") else bart_parts(block)


def last_norm(stack: Any) -> Any:
    """The norm after a stack's last block; None if there is none."""
    return getattr(stack, "final_layer_norm", getattr(stack, "layer_norm", None))


def places_of(model: PreTrainedModel) -> Iterator[nn.Module]:
    """The modules to whose outputs adapters may add: blocks, sub-layers and their modules."""
    for block in _blocks(model):
        yield block
        for part in parts_of_block(block):
            yield part.own
            if part.whole is not None:
                yield part.whole


def norms_after(model: PreTrainedModel) -> Iterator[nn.Module]:
    """The norms of blocks with post-norm; nothing for pre-norm models."""
    form = read_pair_form(model)
    for block in _blocks(model) if form is not None and form.after else ():
        yield from (part.norm for part in parts_of_block(block))


def _blocks(model: PreTrainedModel) -> list[Any]:
    return [block for stack in stacks_of(model) for block in blocks_of_stack(stack)]


def _read_t5_form(model: PreTrainedModel) -> PairForm | None:
    stacks = stacks_of(model)
    if any(own_children(stack) != _STACK for stack in stacks):
        return None
    blocks = [(block, 2 + at) for at, stack in enumerate(stacks) for block in stack.block]
    if not all(own_children(b) == {"layer"} and len(b.layer) == n for b, n in blocks):
        return None
    parts = [part for stack in stacks for block in stack.block for part in block.layer]
    found = {_form_of(part) for part in parts}
    if None in found:
        return None
    norms = [*(part.layer_norm for part in parts), *(stack.final_layer_norm for stack in stacks)]
    gates = {form for form in found if isinstance(form, str)}
    shares = {share_of(owner) for owner in (*stacks, *parts, *map(_own, parts))}
    if len(gates) != 1 or len(shares) != 1 or not all(map(_is_plain, norms)):
        return None
    share = shares.pop()
    return PairForm(gates.pop(), share, share, share, last=share)


def _part(part: Any) -> Part:
    own = _own(part)
    if _attends(own):
        maps = tuple(getattr(own, name) for name in _MAPS)
        return Part(own, part.layer_norm, maps, part, heads=int(own.n_heads))
    names = _PLAIN if hasattr(own, _PLAIN[0]) else _GATED
    maps = tuple(getattr(own, name) for name in (*names, "wo"))
    return Part(own, part.layer_norm, maps, part, act=own.act)


def _name_of(part: Any) -> str:
    names = ("SelfAttention", "EncDecAttention", "DenseReluDense")
    return next((name for name in names if hasattr(part, name)), "")


def _own(part: Any) -> Any:
    return getattr(part, _name_of(part), None)


def _form_of(part: Any) -> str | bool | None:
    """True for attention, the gate for an MLP ("" without one), None for anything unknown."""
    name = _name_of(part)
    if not name or own_children(part) != {name, "layer_norm", "dropout"}:
        return None
    own = _own(part)
    if any(True for _ in own.parameters(recurse=False)):
        return None
    if _attends(own):
        known = own_children(own) - {_BIAS} == {*_MAPS} and getattr(own, "scaling", 1.0) == 1.0
        return known or None
    if own_children(own) == {*_PLAIN, "wo", "act", "dropout"}:
        return ""
    if own_children(own) == {*_GATED, "wo", "act", "dropout"}:
        return activation_of(own.act)
    return None


def _attends(module: Any) -> bool:
    return hasattr(module, "has_relative_attention_bias")


def _is_plain(norm: Any) -> bool:
    """Whether a norm is an RMSNorm: with a gain and no bias."""
    weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
    return eps_of(norm) is not None and weight is not None and bias is None
