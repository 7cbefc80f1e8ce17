"""Read from an encoder-decoder's modules what its two stacks compute, for BART's family.

    post-norm   h = N(x + attention(x))     y = N(h + W2 act(W1 h))
    pre-norm    h = x + attention(N(x))     y = h + W2 act(W1 N(h))     N after the last block

BART, PLBart and Marian have post-norm, mBART, Pegasus, M2M100 (NLLB) and Blenderbot pre-norm. A
stack begins with token embeddings, scaled or not, plus position embeddings, learned or computed,
and in some families a norm of the sum. No module says where its norms are applied: a stack with a
norm after its last block has pre-norm. Reading may guess wrong: its result is tested
(pair_trial.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from brulee.models.biased_attention import Blocks
from brulee.models.linear_parts import parts_of
from brulee.models.pair_parts import PairForm, Part, own_children, share_of, stacks_of

_STACK = {"embed_tokens", "embed_positions", "layers"}
_FIRST, _LAST = "layernorm_embedding", "layer_norm"
_MAPS = ("q_proj", "k_proj", "v_proj", "out_proj")
_WITHIN, _ACROSS = "self_attn", "encoder_attn"
_MLP = {"activation_fn", "fc1", "fc2", "final_layer_norm"}


def read_bart_form(model: PreTrainedModel) -> PairForm | None:
    """The form of this model's stacks; None if they contain anything unknown."""
    stacks = stacks_of(model)
    if not all(_is_stack(stack) for stack in stacks):
        return None
    across = zip(stacks, (False, True), strict=True)
    blocks = [(block, reads) for stack, reads in across for block in stack.layers]
    if not blocks or not all(_is_block(block, reads) for block, reads in blocks):
        return None
    attentions = [part.own for block, _ in blocks for part in bart_parts(block)[:-1]]
    shares = {share_of(owner) for owner in (*stacks, *(block for block, _ in blocks))}
    inner = {float(block.activation_dropout) for block, _ in blocks}
    weights = {share_of(own) for own in attentions}
    before = {hasattr(stack, _LAST) for stack in stacks}
    if any(len(found) != 1 for found in (shares, inner, weights, before)):
        return None
    return PairForm(
        "", shares.pop(), inner.pop(), weights.pop(), centred=True, after=not before.pop()
    )


def bart_parts(block: Any) -> list[Part]:
    """The sub-layers of a block, in order."""
    found = [_attention(block, name) for name in (_WITHIN, _ACROSS) if hasattr(block, name)]
    maps = (block.fc1, block.fc2)
    return [*found, Part(block.fc2, block.final_layer_norm, maps, act=block.activation_fn)]


def first_norm(stack: Any) -> Any:
    """The norm of a stack's embeddings; None if there is none."""
    return getattr(stack, _FIRST, None)


def begun(stack: Any, words_TD: torch.Tensor, ids: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """Token embeddings, scaled, plus position embeddings, (T, D).

    Positions count from each document's start, after a prefix. M2M100's position embeddings are
    computed by a module, which skips padding tokens.
    """
    scale = float(getattr(stack, "embed_scale", 1.0))
    own = stack.embed_positions
    documents = [rows for rows, _ in blocks.pairs]
    if isinstance(own, nn.Embedding):
        at = np.concatenate([np.arange(rows.stop - rows.start) for rows in documents])
        at += blocks.before + getattr(own, "offset", 0)
        at_T = torch.from_numpy(at).to(ids.device, non_blocking=True)
        places_TD = F.embedding(at_T, own.weight)
    else:
        places_TD = torch.cat([own(ids[None, rows], None, blocks.before)[0] for rows in documents])
    return (words_TD if scale == 1.0 else words_TD * scale) + places_TD


def _attention(block: Any, name: str) -> Part:
    own = getattr(block, name)
    maps = tuple(getattr(own, key) for key in _MAPS)
    norm = getattr(block, f"{name}_layer_norm")
    return Part(own, norm, maps, heads=int(own.num_heads), scale=float(own.scaling))


def _is_stack(stack: Any) -> bool:
    names = own_children(stack)
    if names - {_FIRST, _LAST} != _STACK:
        return False
    norms = [getattr(stack, name) for name in (_FIRST, _LAST) if name in names]
    own = stack.embed_positions
    computed = isinstance(getattr(own, "weights", None), torch.Tensor)
    return (isinstance(own, nn.Embedding) or computed) and all(map(_is_norm, norms))


def _is_block(block: Any, across: bool) -> bool:
    names = [_WITHIN, _ACROSS] if across else [_WITHIN]
    norms = [f"{name}_layer_norm" for name in names]
    shares = all(hasattr(block, name) for name in ("dropout", "activation_dropout"))
    if own_children(block) != {*names, *norms, *_MLP} or not shares:
        return False
    # Without `LinearParts`, fc2 is called as a module, and its hooks would add a second time.
    called = bool(block.fc2._forward_hooks) and parts_of(block.fc2) is None
    known = all(_is_attention(getattr(block, name)) for name in names) and not called
    return known and all(_is_norm(getattr(block, n)) for n in (*norms, "final_layer_norm"))


def _is_attention(own: Any) -> bool:
    read = all(hasattr(own, name) for name in ("scaling", "num_heads", "dropout"))
    known = read and own_children(own) == {*_MAPS}
    return known and not any(True for _ in own.parameters(recurse=False))


def _is_norm(norm: Any) -> bool:
    return isinstance(norm, nn.LayerNorm) and norm.weight is not None
