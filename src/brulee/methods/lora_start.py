"""PiSSA's initialisation: the largest singular directions of a weight.

Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large
Language Models". Shapes: `O` outputs, `I` inputs, `R` rank, `S` the smaller of both.
"""

from __future__ import annotations

import torch
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk

from brulee.errors import InputError


def principal(
    weight_OI: torch.Tensor, rank: int, scale: float, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """A (R, I) and B (O, R) such that scale * B @ A is the best rank-R approximation of the weight.

    Both include the square root of the singular values, as in PEFT; fp32. Raises InputError for a
    rank higher than the weight's.
    """
    if rank > min(weight_OI.shape):
        raise InputError(
            f"method.init: pissa at rank {rank} needs a weight of at least that rank; "
            f"{name} is {tuple(weight_OI.shape)}."
        )
    wide = weight_OI.detach().double()
    # The leading eigenvectors of the smaller Gram matrix: many times faster than a full SVD, and in
    # fp64 as exact for the largest singular values.
    tall = wide.shape[0] > wide.shape[1]
    vectors = _largest_vectors(wide, rank)
    other = wide @ vectors if tall else wide.T @ vectors  # singular vectors times singular values
    values_R = other.norm(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
    small, large = vectors * values_R.sqrt(), other / values_R.sqrt()
    b_OR, a_IR = (large, small) if tall else (small, large)
    share = scale**-0.5
    return (share * a_IR.T).float().contiguous(), (share * b_OR).float().contiguous()


def _largest_vectors(wide_OI: torch.Tensor, count: int) -> torch.Tensor:
    """The eigenvectors (S, count) of the smaller Gram matrix, largest eigenvalues first.

    On a CPU, only half of the matrix and the requested vectors are computed: a third of the time.
    """
    tall = wide_OI.shape[0] > wide_OI.shape[1]
    if wide_OI.device.type != "cpu":
        square_SS = wide_OI.T @ wide_OI if tall else wide_OI @ wide_OI.T
        found: torch.Tensor = torch.linalg.eigh(square_SS).eigenvectors
        return found[:, -count:].flip(1)
    half_SS = dsyrk(1.0, wide_OI.numpy().T, trans=not tall, lower=True)
    size = len(half_SS)
    chosen = [size - count, size - 1]
    _, vectors = eigh(half_SS, lower=True, subset_by_index=chosen, overwrite_a=True)
    return torch.from_numpy(vectors[:, ::-1].copy())
