"""The forward pass of a Llama-shaped decoder over a pack, for training.

Models of this shape (Llama, Qwen, SmolLM, Mistral ...) are recognised by their modules and then
tried: the same documents have to give the same hidden states as the model itself. What differs is
how they are computed: projections of one input together (fused_projection.py), documents' common
beginning once (spans.py), the last layer only where something is learned, and nothing is kept for
the backward pass that it does not need. Anything unknown in a module's place is called as it is.

Shapes: `T` rows of the pack, `Q` rows that the last layer computes, `N` learned positions, `D`
width, `H` query heads, `K` key heads, `W` head width.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from brulee.data.batching import Batch, common_start, pack
from brulee.data.encoding import Encoded
from brulee.models.fused_attention import Reading, attend, reading
from brulee.models.fused_norm import rms_norm, rms_norm_again
from brulee.models.fused_projection import Again, project
from brulee.models.fused_rope import rotate
from brulee.models.fused_swiglu import swiglu, swiglu_again
from brulee.models.held import Held
from brulee.models.hooks import Adds, Prefixes, Refreshes, additions, owners, with_additions
from brulee.models.rounding import filled, step_of
from brulee.models.spans import after_prefix, asking, spans_of

# Rows of a pack, and of its last layer, are filled up to a multiple (rounding.py).
STEP, LAST_STEP = 64, 32
_PAIRS = 5  # of documents that a model is tried on
_BODY = {"embed_tokens", "layers", "norm", "rotary_emb"}
_LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}


@dataclass(frozen=True)
class Prepared:
    """What a pass reads beside weights, made before anything is computed.

    `ids` and `positions` (T). `every` is how the documents are read in all layers but the last,
    `last` how in that one, whose queries are `index` (Q) among the pack's rows; `learned` (N) are
    the learned positions among those, and `targets` (N) what they predict.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    index: torch.Tensor
    learned: torch.Tensor
    targets: torch.Tensor
    every: Reading
    last: Reading

    def tensors(self) -> list[torch.Tensor]:
        """All that differs between two passes of the same sizes, where a kernel attends."""
        own = [self.ids, self.positions, self.index, self.learned, self.targets]
        return [*own, *self.every.tensors(), *self.last.tensors()]


@dataclass(frozen=True)
class _Rows:
    """Which rows a layer's queries are, who reads whom, and the angles of queries and keys."""

    index: torch.Tensor | None  # (Q) among the T rows, None for all
    reading: Reading
    query_angles: tuple[torch.Tensor, torch.Tensor]
    key_angles: tuple[torch.Tensor, torch.Tensor]
    before: tuple[torch.Tensor, torch.Tensor] | None = None  # more keys and values, (P, K, W)


class FusedDecoder:
    """Runs a recognised model; `held` has its trained values in the format of the products.

    With `recomputes` a layer keeps its input alone, and what its backward pass needs is computed
    again then (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.held = model, Held(model.dtype)
        self.recomputes = False
        # Looked for once: a model has a thousand modules.
        self._refreshers: list[Refreshes] = owners(model, Refreshes)
        self._prefixes: list[Prefixes] = owners(model, Prefixes)

    @property
    def refreshes(self) -> bool:
        """Whether trained values are written somewhere before modules compute."""
        return bool(self._refreshers)

    def renew(self) -> None:
        """Take notice that trained values may have changed."""
        for each in self._refreshers:
            each.refresh()
        self.held.renew()

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D)."""
        return self.hidden(self.prepared(batch))

    def prepared(self, batch: Batch) -> Prepared:
        """What the pass over a pack will read, on the pack's device."""
        ids, positions = (batch.inputs[n][0] for n in ("input_ids", "position_ids"))
        device, before = ids.device, sum(p.count for p in self._prefixes)
        keys = len(ids) + before
        whole = after_prefix(spans_of(batch.segments, batch.shared), before)
        last = after_prefix(asking(batch.segments, batch.shared, batch.asked), before)
        stops = itertools.accumulate(batch.segments)
        ranges = [np.arange(s - n, s) for s, n in zip(stops, batch.asked, strict=True)]
        index = torch.from_numpy(np.concatenate(ranges)).to(device, non_blocking=True)
        return Prepared(
            ids,
            positions + before,
            index,
            torch.searchsorted(index, batch.positions),
            batch.targets,
            reading(whole, keys, device),
            reading(last, keys, device),
        )

    def hidden(self, prepared: Prepared) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D).

        On a GPU nothing of it waits for the device, nor depends on anything but the sizes of what
        is prepared: it may be captured once and replayed (training/captured.py).
        """
        body = self.model.base_model
        hidden_TD = self.model.get_input_embeddings()(prepared.ids[None])[0]
        self._compute_in(_format(hidden_TD))
        hidden_TD = filled(hidden_TD, step_of(hidden_TD, STEP, self.held.dtype))
        every, asked = self._rows(body, hidden_TD, prepared)
        layers = list(body.layers[: self.model.config.num_hidden_layers])
        before = self._before(len(layers))
        for layer, own in zip(layers[:-1], before, strict=False):
            hidden_TD = self._layer(layer, hidden_TD, _after(own, every))
        hidden_QD = self._layer(layers[-1], hidden_TD, _after(before[-1], asked))
        return self._norm(body.norm, hidden_QD.index_select(0, prepared.learned))

    def _before(self, layers: int) -> list[tuple[torch.Tensor, torch.Tensor] | None]:
        """Keys and values that stand before each layer's own."""
        prefixes = [p for p in self._prefixes if p.count]
        if not prefixes:
            return [None] * layers
        return [
            (k.to(self.held.dtype), v.to(self.held.dtype)) for k, v in prefixes[0].keys_and_values()
        ]

    def _compute_in(self, dtype: torch.dtype) -> None:
        if dtype != self.held.dtype:
            self.held = Held(dtype)

    def _rows(self, body: Any, hidden_TD: torch.Tensor, prepared: Prepared) -> tuple[_Rows, _Rows]:
        """The rows of every layer but the last, and those of the last."""
        positions = filled(prepared.positions, step_of(hidden_TD, STEP, self.held.dtype))
        angles = body.rotary_emb(hidden_TD[None], position_ids=positions[None])
        cos, sin = (part[0].to(self.held.dtype) for part in angles)
        every = _Rows(None, prepared.every, (cos, sin), (cos, sin))
        # Filled up with the pack's last row, whatever that is: nothing reads it.
        index = prepared.index
        more = -len(index) % step_of(hidden_TD, LAST_STEP, self.held.dtype)
        index = F.pad(index, (0, more), value=len(hidden_TD) - 1) if more else index
        return every, _Rows(
            index, prepared.last, (_taken(cos, index), _taken(sin, index)), (cos, sin)
        )

    def _layer(self, layer: Any, hidden_TD: torch.Tensor, rows: _Rows) -> torch.Tensor:
        if not (self.recomputes and torch.is_grad_enabled()):
            return self._through(layer, hidden_TD, rows)
        found: torch.Tensor = checkpoint(self._through, layer, hidden_TD, rows, use_reentrant=False)
        return found

    def _through(self, layer: Any, hidden_TD: torch.Tensor, rows: _Rows) -> torch.Tensor:
        mixed_QD = self._attention(layer.self_attn, layer.input_layernorm, hidden_TD, rows)
        hidden_QD = _taken(hidden_TD, rows.index)
        stream_QD = hidden_QD + mixed_QD
        stream_QD = stream_QD + self._mlp(layer.mlp, layer.post_attention_layernorm, stream_QD)
        return with_additions(layer, hidden_QD, stream_QD)

    def _attention(self, own: Any, norm: Any, hidden_TD: torch.Tensor, rows: _Rows) -> torch.Tensor:
        x_TD = self._norm(norm, hidden_TD)
        if rows.index is None:
            maps = [own.q_proj, own.k_proj, own.v_proj]
            q, k, v = project(x_TD, maps, self.held, self._norm_again(norm, hidden_TD))
        else:
            (q,) = project(_taken(x_TD, rows.index), [own.q_proj], self.held)
            k, v = project(x_TD, [own.k_proj, own.v_proj], self.held)
        q_QHW, k_TKW, v_TKW = (x.view(len(x), -1, own.head_dim) for x in (q, k, v))
        if hasattr(own, "q_norm"):
            q_QHW, k_TKW = self._norm(own.q_norm, q_QHW), self._norm(own.k_norm, k_TKW)
        q_QHW, k_TKW = rotate(q_QHW, *rows.query_angles), rotate(k_TKW, *rows.key_angles)
        if rows.before is not None:
            k_TKW, v_TKW = (torch.cat(p) for p in zip(rows.before, (k_TKW, v_TKW), strict=True))
        mixed_QHW = attend(q_QHW, k_TKW, v_TKW, rows.reading, own.scaling)
        (mixed_QD,) = project(mixed_QHW.flatten(1), [own.o_proj], self.held)
        return with_additions(own, _taken(x_TD, rows.index), mixed_QD)

    def _mlp(self, own: Any, norm: Any, hidden_TD: torch.Tensor) -> torch.Tensor:
        x_TD, again = self._norm(norm, hidden_TD), self._norm_again(norm, hidden_TD)
        gate, up = project(x_TD, [own.gate_proj, own.up_proj], self.held, again)
        gated_again = None if self.recomputes else swiglu_again(gate, up)
        (out_TD,) = project(swiglu(gate, up), [own.down_proj], self.held, gated_again)
        return with_additions(own, x_TD, out_TD)

    def _norm(self, own: Any, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, own.weight, own.variance_epsilon, self.held.dtype)

    def _norm_again(self, own: Any, x: torch.Tensor) -> Again | None:
        if self.recomputes:
            return None  # the whole layer is; what this holds on to would stay
        return rms_norm_again(x, own.weight, own.variance_epsilon, self.held.dtype)


def fused_decoder(model: PreTrainedModel) -> FusedDecoder | None:
    """A faster way through this model, or None where it is not known to give the same."""
    if not _recognised(model):
        return None
    found = FusedDecoder(model)
    training = model.training
    model.eval()
    try:
        return found if _same(found) else None
    finally:
        model.train(training)
        found.renew()


def _recognised(model: PreTrainedModel) -> bool:
    body = model.base_model
    if body is model or getattr(model.config, "attention_dropout", None):
        return False
    if _children(body) != _BODY | {n for n, m in body.named_children() if isinstance(m, Prefixes)}:
        return False
    plain = all(_is_plain(layer) for layer in body.layers) and _is_norm(body.norm)
    # What other hooks do is theirs to know.
    return plain and _adds_only(model) and _prepares_only(model)


def _adds_only(model: PreTrainedModel) -> bool:
    """Whether every hook on what a module gives is an addition, in a place that is asked for it."""
    places = {id(m) for layer in model.base_model.layers for m in _places(layer)}
    hooked = [(m, hook) for m in model.modules() for hook in m._forward_hooks.values()]
    return all(isinstance(hook, Adds) and id(m) in places for m, hook in hooked)


def _places(layer: Any) -> tuple[nn.Module, ...]:
    """Where additions are made."""
    return layer, layer.self_attn, layer.mlp


def _after(before: tuple[torch.Tensor, torch.Tensor] | None, rows: _Rows) -> _Rows:
    return rows if before is None else replace(rows, before=before)


def _prepares_only(model: PreTrainedModel) -> bool:
    """Whether all that modules call before they compute is known, and of prefixes there is one."""
    known = {id(own) for kind in (Refreshes, Prefixes) for own in owners(model, kind)}
    # The embedding is called as it is, with all that it calls.
    called = set(model.get_input_embeddings().modules())
    others = owners(model, object, without=called)
    prefixes = [m for m in model.base_model.children() if isinstance(m, Prefixes)]
    return (
        all(id(own) in known for own in others)
        and len(prefixes) == len(owners(model, Prefixes)) < 2
    )


def _is_plain(layer: Any) -> bool:
    if not _children(layer) >= _LAYER or _children(layer.mlp) != _MLP:
        return False
    # What else a layer has is what its hooks add.
    known = {id(hook.branch) for module in _places(layer) for hook in additions(module)}
    if any(id(getattr(layer, name)) not in known for name in _children(layer) - _LAYER):
        return False
    attention = layer.self_attn
    inner = _children(attention) - _ATTENTION
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [getattr(attention, name) for name in inner]
    return (
        inner in (set(), {"q_norm", "k_norm"})
        and getattr(attention, "sliding_window", None) is None
        and hasattr(attention, "scaling")
        and hasattr(attention, "head_dim")
        and _is_silu(layer.mlp.act_fn)
        and all(_is_norm(norm) for norm in norms)
    )


def _is_silu(module: nn.Module) -> bool:
    at = torch.linspace(-4, 4, 9)
    return not list(module.parameters()) and torch.equal(module(at), F.silu(at))


def _is_norm(module: nn.Module) -> bool:
    """By what it has; that it computes a root-mean-square norm is found by trying the model."""
    return (
        hasattr(module, "variance_epsilon")
        and getattr(getattr(module, "weight", None), "ndim", 0) == 1
        and getattr(module, "bias", None) is None
    )


def _taken(x_TD: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    return x_TD if rows is None else x_TD.index_select(0, rows)


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


def _format(hidden: torch.Tensor) -> torch.dtype:
    """What products are computed in: autocast's format where it is on."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _same(decoder: FusedDecoder) -> bool:
    """Pairs of short documents, their common beginning computed once, against the model alone.

    A right formula is off by 0.02 to 0.09 of a hidden state's norm in bfloat16, by the pair (30
    layers of SmolLM2), so that there the middle of the pairs counts; in fp32 every one does.
    """
    errors = [_error(decoder, seed) for seed in range(_PAIRS)]
    if decoder.held.dtype == torch.float32:  # not the model's: what is trained may be wider
        return max(errors) <= 1e-4
    return statistics.median(errors) <= 0.05


@torch.no_grad()
def _error(decoder: FusedDecoder, seed: int) -> float:
    model = decoder.model
    device = next(model.parameters()).device
    high = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randint(high, (12,), generator=torch.Generator().manual_seed(seed)).tolist()
    documents = [Encoded.ending(drawn[:7], 3), Encoded.ending(drawn[:3] + drawn[6:], 4)]
    batch = pack(documents, common_start(documents)).to(device)
    found = decoder(batch).float()
    expected = torch.cat([_alone(model, document) for document in documents]).float()
    return float((found - expected).norm() / expected.norm())


def _alone(model: PreTrainedModel, document: Encoded) -> torch.Tensor:
    ids = torch.tensor([document.ids], device=next(model.parameters()).device)
    hidden_TD: torch.Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    return hidden_TD[len(document.ids) - document.learned - 1 : -1]
