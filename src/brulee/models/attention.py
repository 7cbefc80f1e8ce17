"""Attention over packed documents, through transformers' public attention interface.

A pack is one row of T tokens: several documents end to end. `cu_seq_lens_q` holds the S + 1
boundaries:

    documents    |--- a ---|- b -|------ c ------|
    cu_seq_lens  0         7     11              24

A trained prefix is P more keys and values before the pack's own. Every document attends to it as if
it directly preceded that document.

Shapes: `T` tokens in the pack, `H` query heads, `K` key heads, `D` head width, `S` documents, `P`
prefix positions.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel

from brulee.data.batching import pack_arguments
from brulee.models.allocator import is_exhaustion
from brulee.models.attention_kind import attend_as_before, attention_of_parts
from brulee.models.attention_trial import is_right, scale
from brulee.models.rounding import widened
from brulee.models.rounding_trial import coarsest, logits_only_round
from brulee.models.turns import turn

NAME = "brulee_packed"


def packed_attention(
    _: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document of a pack, and to a prefix shared by all documents.

    query (1, H, T, D); key and value (1, K, P + T, D); returns (1, T, H, D). Raises ValueError for
    what it cannot compute exactly (logit soft-capping, attention sinks, a dense mask), so that no
    model is trained with the wrong attention.
    """
    unsupported = [n for n in ("softcap", "s_aux", "position_bias") if options.get(n) is not None]
    if unsupported or attention_mask is not None or cu_seq_lens_q is None:
        what = ", ".join(unsupported) or "a dense mask or no document boundaries"
        raise ValueError(f"packed attention does not compute {what}")
    if dropout == 0.0 and takes_all_documents(query, value.shape[3]):
        longest = int(max_length_q or query.shape[2])
        out_THD = _varlen(query, key, value, cu_seq_lens_q, longest, scaling, sliding_window)
        return out_THD.unsqueeze(0), None
    bounds = cu_seq_lens_q.tolist()
    return _per_document(query, key, value, bounds, scaling, dropout, sliding_window), None


def _per_document(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: list[int],
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> torch.Tensor:
    prefix = key.shape[2] - query.shape[2]
    outs = []
    for start, end in itertools.pairwise(bounds):
        mask = None
        if prefix or (window is not None and end - start > window):
            mask = _mask(end - start, prefix, window, query.device)
        out_1HTD = by_torch(
            query[:, :, start:end],
            _seen(key, prefix, start, end),
            _seen(value, prefix, start, end),
            mask,
            scaling,
            dropout,
        )
        outs.append(out_1HTD.transpose(1, 2))
    return torch.cat(outs, dim=1)


def by_torch(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention as torch computes it, causal if there is no mask.

    query (1, H, T, D); key and value (1, K, S, D), where S is T without a mask; (1, H, T, D).
    """
    groups = query.shape[1] // key.shape[1]
    # With a mask or in fp32, none of torch's kernels for GPUs lets query heads share a key head: it
    # would store all weights in fp32.
    plain = mask is not None or query.dtype == torch.float32
    if groups > 1 and plain and query.device.type != "cpu":
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _seen(keys: torch.Tensor, prefix: int, start: int, end: int) -> torch.Tensor:
    """The keys or values visible to one document: the prefix and its own."""
    own = keys[:, :, prefix + start : prefix + end]
    return torch.cat([keys[:, :, :prefix], own], dim=2) if prefix else own


def _mask(length: int, prefix: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Which positions of prefix and document each of its tokens attends to, (T, P + T)."""
    at = torch.arange(prefix + length, device=device)
    behind = at[prefix:, None] - at[None, :]
    return (behind >= 0) & (behind < (window or len(at)))


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    q_THD, k_TKD, v_TKD = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    prefix = len(k_TKD) - len(q_THD)
    key_bounds = bounds
    if prefix:
        order, key_bounds = before_each(bounds, len(q_THD), prefix)
        k_TKD, v_TKD = k_TKD.index_select(0, order), v_TKD.index_select(0, order)
    return varlen(
        q_THD, k_TKD, v_TKD, (bounds, key_bounds), (longest, prefix + longest), scaling, window
    )


def takes_all_documents(query: torch.Tensor, values: int = 0) -> bool:
    """Whether torch's variable-length kernel works for queries like these (..., D).

    The kernel is FlashAttention 2: half precision, head width at most 256, Ampere GPUs or later.
    Its results are checked too, once per device, dtype and width. The width of `values` may be
    smaller, but not larger.
    """
    width = query.shape[-1]
    return (
        by_kernel(query.device)
        and values <= width
        and query.dtype in (torch.float16, torch.bfloat16)
        and width % 8 == 0
        and width <= 256
        and _varlen_is_right(query.device, query.dtype, width)
    )


@functools.cache
def _varlen_is_right(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Check the kernel on two documents, the second of which also has a prefix."""
    bounds = [torch.tensor(b, dtype=torch.int32, device=device) for b in ([0, 3, 7], [0, 3, 9])]

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
    ) -> torch.Tensor:
        return varlen(q, k, v, (bounds[0], bounds[1]), (4, 6), scale(width), window)

    reads = [(slice(0, 3), range(3)), (slice(3, 7), range(3, 9))]
    return is_right(attend, reads, device, dtype, width)


@functools.cache
def by_kernel(device: torch.device) -> bool:
    """Whether this device supports a kernel that takes all documents of a pack at once."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def varlen(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    bounds: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scaling: float | None,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention over documents end to end by torch's CUDA kernel, (Q, H, D).

    `bounds` (S + 1 each) and `longest` are for queries and for keys. Where a document has more keys
    than queries, the causal mask is aligned to the last of both. Query heads may share key heads.
    Values that are narrower than keys, for which there is no kernel, are padded with zeros.

    Calls the operator behind `torch.nn.attention.varlen.varlen_attn` directly: `varlen_attn` is a
    custom op, and a GPU would wait for its Python code in every layer (docs/performance.md).
    """
    out_QHD: torch.Tensor = _flash(
        q_QHD,
        k_TKD,
        widened(v_TKD, q_QHD.shape[2]),
        *bounds,
        *longest,
        0.0,  # dropout
        window is None,  # causal; with a window, window_size_right=0 makes it so
        False,
        scale=scaling,
        window_size_left=-1 if window is None else window - 1,
        window_size_right=0,
    )[0]
    return out_QHD[..., : v_TKD.shape[2]]


def before_each(
    bounds: torch.Tensor, tokens: int, prefix: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices into P + T keys that put the prefix before each document, and the new boundaries.

    `bounds` holds S + 1 boundaries of T tokens; returns (T + S P) indices and S + 1 boundaries.
    """
    documents = len(bounds) - 1
    token = torch.arange(tokens, device=bounds.device)
    key_bounds = bounds + prefix * torch.arange(documents + 1, device=bounds.device)
    order = token.new_empty(tokens + documents * prefix)
    # A token's document number, counted from 1, is the number of prefixes before it.
    order[token + prefix * torch.bucketize(token, bounds[:-1], right=True)] = token + prefix
    at = key_bounds[:-1, None] + torch.arange(prefix, device=bounds.device)
    order[at.flatten()] = torch.arange(prefix, device=bounds.device).repeat(documents)
    return order, key_bounds.to(bounds.dtype)


@contextmanager
def attention_by(name: str, model: PreTrainedModel) -> Iterator[None]:
    """Use the attention implementation registered as `name` inside this block.

    Other threads that run the model wait (turns.py).
    """
    with turn(model):
        before = attention_of_parts(model)
        model.set_attn_implementation(name)
        try:
            yield
        finally:
            attend_as_before(before)


def packed(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Make the model attend within each document of a pack inside this block."""
    return attention_by(NAME, model)


def packs_exactly(model: PreTrainedModel) -> bool:
    """Whether this model computes the same for a document in a pack as for the document alone.

    Tested on two short documents instead of looked up by name. False for encoder-decoders, models
    with a recurrent state and models that ignore the attention interface: these are batched with
    padding.
    """
    if model.config.is_encoder_decoder or not getattr(model, "_supports_attention_backend", False):
        return False
    if getattr(model.config, "attention_chunk_size", None):
        return False  # chunking needs a mask, and only shows in documents longer than those below
    training = model.training
    model.eval()  # dropout would make the two runs differ
    try:
        return _same_apart(model, (5, 9))
    finally:
        model.train(training)


@torch.no_grad()
def _same_apart(model: PreTrainedModel, lengths: tuple[int, ...]) -> bool:
    device = next(model.parameters()).device
    high = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(high, (1, sum(lengths)), generator=torch.Generator().manual_seed(0))
    ids = ids.to(device)
    try:
        with packed(model):
            together = model(input_ids=ids, use_cache=False, **pack_arguments(lengths, device))
    except (ValueError, TypeError, RuntimeError) as failure:
        if is_exhaustion(failure):
            raise
        return False  # the model needs something that packed attention does not compute
    parts = torch.split(ids, list(lengths), 1)

    def apart() -> torch.Tensor:
        return torch.cat([model(input_ids=part, use_cache=False).logits for part in parts], dim=1)

    found = together.logits
    return logits_only_round(found, apart(), model, apart, coarsest(model, found))


_flash = torch.ops.aten._flash_attention_forward
AttentionInterface.register(NAME, packed_attention)
