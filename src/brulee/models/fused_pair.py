"""The forward pass of an encoder-decoder over two packs, for training, from a description of it.

The encoder's pack has the prompts end to end, the decoder's the completions, without padding; a
document attends only to itself. As in fused_decoder.py, projections of one input are computed
together, and nothing is saved that the backward pass does not need. The model's form is read from
its modules (pair_form.py, pair_form_bart.py) and tested (pair_trial.py).

Shapes: `T` rows of the encoder's pack, `U` of the decoder's, `N` learned positions, `D` width, `H`
heads, `W` head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from brulee.data.batching import Batch
from brulee.models.attention import by_kernel
from brulee.models.biased_attention import (
    Blocks,
    attend_biased,
    blocks_of,
    by_distance,
    for_blocks,
)
from brulee.models.dropping import dropped
from brulee.models.fused_activation import activated
from brulee.models.fused_layer_norm import normed, normed_again
from brulee.models.fused_projection import Again, project
from brulee.models.fused_rows import STEP
from brulee.models.fused_swiglu import gated, gated_again
from brulee.models.held import Held, format_of
from brulee.models.hooks import (
    KeysAndValues,
    Prefixes,
    Refreshes,
    before_layers,
    owners,
    renormings,
    with_additions,
)
from brulee.models.pair_form import blocks_of_stack, last_norm, parts_of_block, read_pair_form
from brulee.models.pair_form_bart import begun, first_norm
from brulee.models.pair_parts import PairForm, Part, stacks_of
from brulee.models.pair_trial import pair_form_is_right, pair_hooks_are_known, pair_is_right
from brulee.models.rounding import filled, step_of


@dataclass(frozen=True)
class PreparedPair:
    """The inputs of a pass: token ids of both packs, attention blocks, and targets.

    `ids` (T), `shifted` (U), `targets` (N), and the rows that predict them, `learned` (N). `within`
    are the blocks of self-attention in encoder and decoder, `across` those of cross-attention.
    """

    ids: torch.Tensor
    shifted: torch.Tensor
    learned: torch.Tensor
    targets: torch.Tensor
    within: tuple[Blocks, Blocks]
    across: Blocks


class FusedPair:
    """Runs a model of a given form; `held` has its trained weights in the dtype of the products.

    With `recomputes`, a block saves only its input and is recomputed in the backward pass, with the
    same dropout.
    """

    def __init__(self, model: PreTrainedModel, form: PairForm) -> None:
        self.model, self.form = model, form
        # Searched once, since a model has about a thousand modules.
        self.held = Held(model.dtype, owners(model, Refreshes))
        self.recomputes = False
        self._prefixes: list[Prefixes] = owners(model, Prefixes)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D)."""
        return self.hidden(self.prepared(batch))

    def prepared(self, batch: Batch) -> PreparedPair:
        """The inputs of the pass over two packs, on their device."""
        ids, shifted = (batch.inputs[n][0] for n in ("input_ids", "decoder_input_ids"))
        device, written = ids.device, batch.written
        read = [n - own for n, own in zip(batch.lengths, written, strict=True)]
        kernel = by_kernel(device)
        within, across = (
            blocks_of(queries, keys, device, kernel)
            for queries, keys in ((read, read), (written, read))
        )
        before = sum(prefix.count for prefix in self._prefixes)
        own = blocks_of(written, written, device, kernel, before)
        return PreparedPair(ids, shifted, batch.positions, batch.targets, (within, own), across)

    def hidden(self, prepared: PreparedPair) -> torch.Tensor:
        """The normalised last hidden state at the learned positions, (N, D)."""
        within, own = prepared.within
        encoder, decoder = stacks_of(self.model)
        given_TD = self._stack(encoder, prepared.ids, within)
        hidden_UD = self._stack(decoder, prepared.shifted, own, (given_TD, prepared.across))
        return hidden_UD.index_select(0, prepared.learned)

    def _stack(
        self,
        stack: Any,
        ids: torch.Tensor,
        within: Blocks,
        across: tuple[torch.Tensor, Blocks] | None = None,
    ) -> torch.Tensor:
        """The output of a stack, (T, D); `across` has a decoder's encoder output and blocks."""
        hidden_TD = self._begun(stack, ids, within)
        bias, blocks = None, blocks_of_stack(stack)
        prefixes = self._prefixes if across is not None else []
        before = before_layers(prefixes, len(blocks), self.held.dtype)
        for block, prefix in zip(blocks, before, strict=True):
            parts = parts_of_block(block)
            own = parts[0].own
            if _has_bias(own) or (bias is None and across is not None):
                # All blocks use the first block's bias, unless each has its own.
                bias = self._bias(own, hidden_TD, within, causal=across is not None)
            if not self._skips(stack):
                hidden_TD = self._maybe_again(
                    self._block, block, parts, hidden_TD, within, bias, prefix, across
                )
        norm = last_norm(stack)
        if norm is None:
            return hidden_TD
        return self._dropped(self._norm(norm, hidden_TD, self.held.dtype), self.form.last)

    def _begun(self, stack: Any, ids: torch.Tensor, within: Blocks) -> torch.Tensor:
        """The input of a stack's first block, (T, D), with padding rows."""
        hidden_TD = stack.embed_tokens(ids[None])[0]
        self.held = self.held.within(format_of(hidden_TD))
        if hasattr(stack, "embed_positions"):
            hidden_TD = begun(stack, hidden_TD, ids, within)
        norm = first_norm(stack)
        if norm is not None:
            hidden_TD = self._norm(norm, hidden_TD, hidden_TD.dtype)
        hidden_TD = filled(hidden_TD, step_of(hidden_TD, STEP, self.held.dtype))
        return self._dropped(hidden_TD, self.form.dropout)

    def _skips(self, stack: Any) -> bool:
        """Whether to skip a block at random (LayerDrop), in training and if the stack does so.

        Fan et al. 2019, "Reducing Transformer Depth on Demand with Structured Dropout".
        """
        share = float(getattr(stack, "layerdrop", 0.0))
        return self.model.training and share > 0 and float(torch.rand(())) < share

    def _maybe_again(self, run: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
        if not (self.recomputes and torch.is_grad_enabled()):
            return run(*given)
        found: torch.Tensor = checkpoint(run, *given, use_reentrant=False)
        return found

    def _bias(
        self, own: Any, hidden_TD: torch.Tensor, within: Blocks, causal: bool
    ) -> torch.Tensor:
        """The bias of scores for the longest document's queries and keys, with padding and prefix.

        Zeros if the stack has no position biases; with `causal`, minus infinity after the query.
        """
        size = within.span(step_of(hidden_TD, STEP, self.held.dtype))
        if _has_bias(own):
            bias_1H1L = own.compute_bias(1, 2 * size - 1, past_seen_tokens=size - 1)
            bias_HL = bias_1H1L[0, :, 0]
        else:
            bias_HL = hidden_TD.new_zeros(1, 2 * size - 1)
        bias_Hns = by_distance(bias_HL, causal, self.held.dtype)[:, within.before :]
        return for_blocks(bias_Hns, within)

    def _block(
        self,
        block: Any,
        parts: list[Part],
        hidden_TD: torch.Tensor,
        within: Blocks,
        bias: torch.Tensor | None,
        before: KeysAndValues | None,
        across: tuple[torch.Tensor, Blocks] | None,
    ) -> torch.Tensor:
        first, *middle, last = parts
        stream_TD = self._within(first, hidden_TD, within, bias, before)
        for part in middle:
            assert across is not None, "of a decoder"
            stream_TD = self._across(part, stream_TD, *across)
        return with_additions(block, hidden_TD, self._mlp(last, stream_TD))

    def _within(
        self,
        part: Part,
        hidden_TD: torch.Tensor,
        blocks: Blocks,
        bias: torch.Tensor | None,
        before: KeysAndValues | None,
    ) -> torch.Tensor:
        x_TD, again = self._read(part, hidden_TD)
        q, k, v = project(x_TD, part.maps[:3], self.held, again)
        if before is not None:
            k, v = (torch.cat([b.flatten(1), x]) for b, x in zip(before, (k, v), strict=True))
        return self._added(part, hidden_TD, x_TD, self._mixed(part, q, k, v, blocks, bias))

    def _across(
        self, part: Part, hidden_UD: torch.Tensor, given_TD: torch.Tensor, blocks: Blocks
    ) -> torch.Tensor:
        x_UD, again = self._read(part, hidden_UD)
        (q,) = project(x_UD, part.maps[:1], self.held, again)
        k, v = project(given_TD, part.maps[1:3], self.held)
        return self._added(part, hidden_UD, x_UD, self._mixed(part, q, k, v, blocks, None))

    def _mixed(
        self,
        part: Part,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        blocks: Blocks,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        q_UHW, k_THW, v_THW = (x.view(len(x), part.heads, -1) for x in (q, k, v))
        share = self._now(self.form.weights)
        mixed_UHW = attend_biased(q_UHW, k_THW, v_THW, blocks, bias, share, part.scale)
        (made_UD,) = project(mixed_UHW.flatten(1), part.maps[3:], self.held)
        return made_UD

    def _mlp(self, part: Part, hidden_TD: torch.Tensor) -> torch.Tensor:
        x_TD, again = self._read(part, hidden_TD)
        halves = project(x_TD, part.maps[:-1], self.held, again)
        if self.form.gate:
            inner_TF, inner_again = self._gated(*halves)
        else:
            inner_TF, inner_again = activated(part.act, halves[0])
        inner_TF = self._dropped(inner_TF, self.form.inner)
        if self.recomputes or self._now(self.form.inner):
            inner_again = None
        (made_TD,) = project(inner_TF, part.maps[-1:], self.held, inner_again)
        return self._added(part, hidden_TD, x_TD, made_TD)

    def _gated(self, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, Again | None]:
        return gated(gate, up, self.form.gate), gated_again(gate, up, self.form.gate)

    def _added(
        self, part: Part, hidden_TD: torch.Tensor, x_TD: torch.Tensor, made_TD: torch.Tensor
    ) -> torch.Tensor:
        """A sub-layer's output from `made_TD`: adapters on x, dropout, residual and post-norm."""
        made_TD = self._dropped(with_additions(part.own, x_TD, made_TD), self.form.dropout)
        stream_TD = hidden_TD + made_TD
        if self.form.after:
            stream_TD = self._norm_after(part.norm, stream_TD)
        if part.whole is None:
            return stream_TD
        return with_additions(part.whole, hidden_TD, stream_TD)

    def _read(self, part: Part, hidden_TD: torch.Tensor) -> tuple[torch.Tensor, Again | None]:
        """The input of a sub-layer, and a function that recomputes it."""
        if self.form.after:
            return hidden_TD, None
        norm, centred, dtype = part.norm, self.form.centred, self.held.dtype
        again = None if self.recomputes else normed_again(norm, hidden_TD, 0.0, centred, dtype)
        return self._norm(norm, hidden_TD, dtype), again

    def _norm_after(self, norm: Any, stream_TD: torch.Tensor) -> torch.Tensor:
        given_TD = self._norm(norm, stream_TD, stream_TD.dtype)
        for hook in renormings(norm):
            given_TD = self._norm(norm, hook.again(stream_TD, given_TD), stream_TD.dtype)
        return given_TD

    def _norm(self, norm: Any, hidden_TD: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return normed(norm, hidden_TD, 0.0, self.form.centred, dtype)

    def _dropped(self, x: torch.Tensor, share: float) -> torch.Tensor:
        return dropped(x, self._now(share))

    def _now(self, share: float) -> float:
        """The dropout probability now: 0 outside training mode."""
        return share if self.model.training else 0.0


def _has_bias(own: Any) -> bool:
    return bool(getattr(own, "has_relative_attention_bias", False))


def fused_pair(model: PreTrainedModel) -> FusedPair | None:
    """The fused pass for this encoder-decoder; None if it is not known to give the same results."""
    form = read_pair_form(model)
    if form is None or not pair_hooks_are_known(model):
        return None
    if not pair_form_is_right(model, form, FusedPair):
        return None
    found = FusedPair(model, form)
    found.held.renew()  # a method's weights may have been loaded since the last pass
    right = pair_is_right(model, found, found.held.dtype)
    found.held.renew()
    return found if right else None
