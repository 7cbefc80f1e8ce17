"""The cross-entropy of hidden states under a linear head, without all their logits at once.

88% of the tokens of a summarisation batch carry no loss, and projecting them onto the vocabulary is
the largest waste of a naive step. Here the hidden states of the learned positions go through the
head in chunks, and each chunk's gradient is computed while its logits are still in memory.

Shapes: `N` learned positions, `D` width, `V` vocabulary, `C` positions in a chunk, `R` rows of the
head that are trained while the others are frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from brulee.models.head_rows import HeadRows
from brulee.models.held import Held
from brulee.models.kernels import kernel
from brulee.models.rounding import filled, step_of

# Logits in a chunk, 128 MB in fp32 on a CPU: with half as many, a vocabulary of 128k leaves the
# matrix product so few rows that it is slower than with full logits (benchmarks/head.py). A GPU
# reads the whole head for every chunk, and needs larger ones.
CHUNK_LOGITS = {"cpu": 32_000_000, "cuda": 128_000_000, "mps": 32_000_000}
STEP = 32  # rows of a chunk are padded to a multiple of this (rounding.py)


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of hidden @ weight.T; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        held: Held | None,
        cap: float | None,
        bias_V: torch.Tensor | None,
        weights_N: torch.Tensor | None,
        rows_RD: torch.Tensor | None,
        index_R: torch.Tensor | None,
        smoothing: float,
    ) -> torch.Tensor:
        need_hidden, need_weight, *_, need_bias, _, need_rows, _, _ = ctx.needs_input_grad
        rows = max(1, CHUNK_LOGITS[weight_VD.device.type] // weight_VD.shape[0])
        step = step_of(hidden_ND, STEP)
        weight = held.tensor(weight_VD) if held else weight_VD.to(hidden_ND.dtype)
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        loss = hidden_ND.new_zeros((), dtype=wide)
        d_hidden = torch.empty_like(hidden_ND) if need_hidden else None
        d_weight = None  # made of the first chunk's
        d_bias = torch.zeros_like(bias_V, dtype=wide) if need_bias and bias_V is not None else None
        d_rows = (
            torch.zeros_like(rows_RD, dtype=wide) if need_rows and rows_RD is not None else None
        )
        needs = need_hidden or need_weight or need_bias or need_rows
        own_RD = None if rows_RD is None else rows_RD.to(hidden_ND.dtype)
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            hidden_CD, learned = filled(hidden_ND[part], step), len(targets_N[part])
            logits_CV, bent_CV = _logits(hidden_CD, weight, bias_V), None
            if own_RD is not None and index_R is not None:
                own_R = None if bias_V is None else bias_V[index_R]
                logits_CV.index_copy_(1, index_R, _logits(hidden_CD, own_RD, own_R))
            if cap is not None:
                bent_CV = logits_CV.div_(cap).tanh_()
                logits_CV = bent_CV * cap
            losses_C, d_logits_CV = _entropies(logits_CV, targets_N[part], needs, smoothing)
            if weights_N is not None:
                losses_C = losses_C * weights_N[part]
                d_logits_CV[:learned] *= weights_N[part, None]
            loss += losses_C.sum()
            if bent_CV is not None:
                d_logits_CV = d_logits_CV.mul_(1 - bent_CV.square_())
            if d_bias is not None:
                d_bias += d_logits_CV.sum(0, dtype=wide)
            more_CD = None
            if own_RD is not None and index_R is not None:
                d_own_CR = d_logits_CV[:, index_R]
                more_CD = d_own_CR @ own_RD
                if d_rows is not None:
                    d_rows += d_own_CR.T @ hidden_CD
                d_logits_CV.index_fill_(1, index_R, 0)  # these rows of the weight took no part
            if d_hidden is not None:
                d_hidden_CD = d_logits_CV @ weight
                if more_CD is not None:
                    d_hidden_CD += more_CD
                d_hidden[part] = d_hidden_CD[:learned]
            if need_weight:
                d_weight = _added(d_weight, d_logits_CV.T @ hidden_CD, wide)
            del logits_CV, d_logits_CV, bent_CV  # free them before the next chunk's are allocated
        if need_weight and d_weight is None:  # no position at all
            d_weight = torch.zeros_like(weight_VD, dtype=wide)
        ctx.save_for_backward(d_hidden, d_weight, d_bias, d_rows)
        held_in = (weight_VD, bias_V, rows_RD)
        ctx.held_in = tuple(None if tensor is None else tensor.dtype for tensor in held_in)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        d_hidden, d_weight, d_bias, d_rows = ctx.saved_tensors
        (scale,) = grads
        if d_hidden is not None:
            d_hidden = d_hidden * scale.to(d_hidden.dtype)
        if d_weight is not None:
            d_weight = (d_weight * scale).to(ctx.held_in[0])
        if d_bias is not None:
            d_bias = (d_bias * scale).to(ctx.held_in[1])
        if d_rows is not None:
            d_rows = (d_rows * scale).to(ctx.held_in[2])
        return d_hidden, d_weight, None, None, None, d_bias, None, d_rows, None, None


def _added(total: torch.Tensor | None, more: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
    return more.to(wide) if total is None else total.add_(more)


def _logits(
    hidden_CD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None
) -> torch.Tensor:
    if bias_V is None:
        return hidden_CD @ weight_VD.T
    return torch.addmm(bias_V.to(hidden_CD.dtype), hidden_CD, weight_VD.T)


def _entropies(
    logits_CV: torch.Tensor, targets: torch.Tensor, need_gradient: bool, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies of the first rows, one per target, and their gradient if it is needed.

    Rows with a negative target count for neither. The gradient has the dtype of the logits, may
    reuse their memory, and is zero in the remaining rows (padding).

    With z the logits of V tokens, smoothing by s adds s (z[target] - mean z) to a loss, which is
    linear in z: its gradient is s at the target and -s / V everywhere.
    """
    if not smoothing:
        return _sharp_entropies(logits_CV, targets, need_gradient)
    of_targets_CV = logits_CV[: len(targets)]
    share_C = smoothing * (targets >= 0).to(logits_CV.dtype)
    wanted = targets.clamp(min=0)[:, None]
    wide = torch.promote_types(logits_CV.dtype, torch.float32)
    mean_C = of_targets_CV.mean(-1, dtype=wide)
    more_C = share_C * (of_targets_CV.gather(1, wanted).squeeze(1) - mean_C)
    losses_C, found_CV = _sharp_entropies(logits_CV, targets, need_gradient)
    if need_gradient:
        gradient_CV = found_CV[: len(targets)]
        gradient_CV.sub_((share_C / logits_CV.shape[1])[:, None])
        gradient_CV.scatter_add_(1, wanted, share_C[:, None])
    return losses_C + more_C, found_CV


def _sharp_entropies(
    logits_CV: torch.Tensor, targets: torch.Tensor, need_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same without smoothing."""
    rows = len(targets)
    run = kernel("cross_entropy", logits_CV)
    if run is not None:
        losses = logits_CV.new_empty(rows, dtype=torch.float32)
        run(logits_CV, targets, losses, rows, logits_CV.shape[1], int(need_gradient))
        logits_CV[rows:] = 0
        return losses, logits_CV
    wide_CV = logits_CV[:rows].to(torch.promote_types(logits_CV.dtype, torch.float32))
    log_z = torch.logsumexp(wide_CV, dim=-1)
    counts, wanted = targets >= 0, targets.clamp(min=0)[:, None]
    picked = wide_CV.gather(1, wanted).squeeze(1)
    losses = (log_z - picked).where(counts, 0)
    if not need_gradient:
        return losses, logits_CV
    # Softmax - one-hot, computed in the logits' memory if they are in fp32 or wider.
    wide_CV.sub_(log_z[:, None]).exp_()
    wide_CV.scatter_add_(1, wanted, torch.full_like(picked, -1.0)[:, None])
    wide_CV.masked_fill_(~counts[:, None], 0)
    if wide_CV.data_ptr() == logits_CV.data_ptr():
        return losses, logits_CV
    logits_CV[:rows], logits_CV[rows:] = wide_CV, 0
    return losses, logits_CV


def linear_cross_entropy(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    held: Held | None = None,
    cap: float | None = None,
    bias_V: torch.Tensor | None = None,
    weights_N: torch.Tensor | None = None,
    rows: HeadRows | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Sum over N of -log softmax(hidden @ weight.T)[target], as a scalar in fp32 (or fp64).

    Equal to `F.cross_entropy(hidden @ weight.T, targets, reduction="sum")`, with memory for one
    chunk of logits instead of N x V. The gradient is exact, and no logits are recomputed for it.
    `held` provides the weight in the dtype of the hidden states, if that differs. A bias is added
    to the logits z; with a `cap`, they then become cap * tanh(z / cap). With `weights`, each
    position's loss counts so many times. `rows` stand in the weight instead of its own. `smoothing`
    is PyTorch's `label_smoothing` (Szegedy et al. 2016, "Rethinking the Inception Architecture").
    """
    rows_RD, index_R = (None, None) if rows is None else (rows.rows, rows.index)
    if not torch.is_grad_enabled():  # ctx.needs_input_grad ignores no_grad
        hidden_ND, weight_VD = hidden_ND.detach(), weight_VD.detach()
        bias_V = None if bias_V is None else bias_V.detach()
        rows_RD = None if rows_RD is None else rows_RD.detach()
    apply: Callable[..., torch.Tensor] = _LinearCrossEntropy.apply  # torch leaves it untyped
    how = (held, cap, bias_V, weights_N, rows_RD, index_R, smoothing)
    return apply(hidden_ND, weight_VD, targets_N, *how)
