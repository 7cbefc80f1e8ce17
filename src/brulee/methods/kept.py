"""How much a combination retains of each correction that went into it.

Everything is computed from the inner products of the result C and the corrections D_1 .. D_N,
summed over tensors in fp64: the plain weighted sum S lies in the span of the D's.

Shapes: `N` corrections, `M` = N + 1 with the result first, `X` values of a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_CHUNK = 2**21  # values of a tensor converted to fp64 at once


@dataclass(frozen=True)
class Kept:
    """How much of one correction D is in the result C; None throughout if D is zero.

    `share` is <C, D> / |D|^2, how much of D is in C (its weight, if D is orthogonal to the others);
    `cosine` is that of C and D, also None if C is zero; `relative` is |C - D| / |D|.
    """

    share: float | None
    cosine: float | None
    relative: float | None


class Tally:
    """Inner products, accumulated tensor by tensor."""

    def __init__(self, count: int) -> None:
        self._gram_MM = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        self._missed = self._meant = 0.0

    def add(self, places: Sequence[int], gram: torch.Tensor) -> None:
        """Add a tensor: the inner products of the result and of the corrections at `places`."""
        index = torch.tensor([0, *(place + 1 for place in places)])
        self._gram_MM[index[:, None], index[None, :]] += gram

    def cut(self, made: torch.Tensor, meant: torch.Tensor) -> None:
        """Add the error of reducing `meant` to a low rank, `made`."""
        self._missed += float((made - meant).double().square().sum())
        self._meant += float(meant.double().square().sum())

    def kept(self) -> list[Kept]:
        """One entry per correction, in their order."""
        gram, count = self._gram_MM, len(self._gram_MM)
        result = float(gram[0, 0])
        found = []
        for i in range(1, count):
            own, dot = float(gram[i, i]), float(gram[0, i])
            if not own:
                found.append(Kept(None, None, None))
                continue
            both = math.sqrt(own) * math.sqrt(result)
            cosine = max(-1.0, min(1.0, dot / both)) if both else None
            apart = max(0.0, result + own - 2 * dot)
            found.append(Kept(dot / own, cosine, math.sqrt(apart / own)))
        return found

    def from_sum(self, weights: Sequence[float]) -> float | None:
        """|C - S| / |S| with S the exact weighted sum; None if S is zero."""
        w_N = torch.tensor(weights, dtype=torch.float64)
        towards = torch.cat([torch.ones(1, dtype=torch.float64), -w_N])
        size = float(w_N @ self._gram_MM[1:, 1:] @ w_N)
        apart = max(0.0, float(towards @ self._gram_MM @ towards))
        return math.sqrt(apart / size) if size > 0 else None

    def by_rank(self) -> float | None:
        """|C - T| / |T| with T the result before rank reduction; None if nothing was reduced."""
        return math.sqrt(self._missed / self._meant) if self._meant else None

    @property
    def empty(self) -> bool:
        """Whether the result is all zeros."""
        return not float(self._gram_MM[0, 0])


def gram_of(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Inner products of tensors of the same shape: (M, M) in fp64."""
    flat = [vector.reshape(-1) for vector in vectors]
    gram = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for pieces in zip(*(torch.split(one, _CHUNK) for one in flat), strict=True):
        stack = torch.stack([piece.double() for piece in pieces])
        gram += stack @ stack.T
    return gram


def gram_of_products(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The same for products B A, each given as A (R, I) and B (O, R), without forming them."""
    wide = [(a.double(), b.double()) for a, b in pairs]
    rows = [
        torch.stack([((b.T @ other_b) * (a @ other_a.T)).sum() for other_a, other_b in wide])
        for a, b in wide
    ]
    return torch.stack(rows)
