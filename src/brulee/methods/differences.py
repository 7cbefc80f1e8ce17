"""How two adapters differ, part by part.

A low-rank correction is determined by its product s B A, not by its factors: any invertible R x R
matrix transforms the factors without changing the product. So products are compared, without
forming them:

    <s1 B1 A1, s2 B2 A2> = s1 s2 sum((B1^T B2) * (A1 A2^T))

Shapes: `I` inputs, `O` outputs, `R` and `S` the two ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from brulee.errors import InputError
from brulee.methods.checkpoint import Adapter
from brulee.methods.lora_pairs import pairs_of, scales_of


@dataclass(frozen=True)
class PartDifference:
    """One product or tensor that both have; norms are Frobenius.

    `relative` is |a - b| / |a|, None if `a` is zero; `cosine` is None if either is zero. Both are
    None for tensors of different shapes.
    """

    name: str
    kind: Literal["product", "tensor"]
    norm_a: float
    norm_b: float
    relative: float | None
    cosine: float | None
    same: bool


@dataclass(frozen=True)
class Difference:
    """Everything compared, most different first, and what only one of them has."""

    parts: tuple[PartDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    relative: float | None
    cosine: float | None


@dataclass(frozen=True)
class _Value:
    """A compared value in fp64: a product B A, or a tensor as a column of values times one."""

    kind: Literal["product", "tensor"]
    shape: tuple[int, ...]
    a: torch.Tensor  # (R, I)
    b: torch.Tensor  # (O, R), with the scale in it

    def dot(self, other: _Value) -> float:
        """The inner product; the two may have different ranks."""
        return float(((self.b.T @ other.b) * (self.a @ other.a.T)).sum())

    def equals(self, other: _Value) -> bool:
        """Whether their factors are exactly equal."""
        return torch.equal(self.a, other.a) and torch.equal(self.b, other.b)


def compare(a: Adapter, b: Adapter) -> Difference:
    """Compare two adapters. Raises InputError for a damaged one, as `Adapter.tensors` does."""
    ours, theirs = _values(a), _values(b)
    both = [name for name in ours if name in theirs]
    if not both:
        raise InputError(
            f"{a.folder} and {b.folder} have no tensor in common: they are of other methods, or "
            "stand on other modules."
        )
    measured = [_measure(name, ours[name], theirs[name]) for name in both]
    alike = torch.tensor([sums for _, sums in measured if sums], dtype=torch.float64)
    relative, cosine = _ratios(*alike.sum(0).tolist()) if len(alike) else (None, None)
    return Difference(
        tuple(sorted((part for part, _ in measured), key=_most_different)),
        tuple(sorted(ours.keys() - theirs.keys())),
        tuple(sorted(theirs.keys() - ours.keys())),
        relative,
        cosine,
    )


def _values(adapter: Adapter) -> dict[str, _Value]:
    tensors = {name: tensor.double() for name, tensor in adapter.tensors().items()}
    found: dict[str, _Value] = {}
    pairs = pairs_of(tensors)
    scales = scales_of(adapter, list(pairs))
    for module, (key_a, key_b) in pairs.items():
        a_RI, b_OR = tensors.pop(key_a), scales[module] * tensors.pop(key_b)
        found[module] = _Value("product", (b_OR.shape[0], a_RI.shape[1]), a_RI, b_OR)
    one = torch.ones(1, 1, dtype=torch.float64)
    for name, tensor in tensors.items():
        found[name] = _Value("tensor", tuple(tensor.shape), one, tensor.reshape(-1, 1))
    return found


def _measure(
    name: str, a: _Value, b: _Value
) -> tuple[PartDifference, tuple[float, float, float, float] | None]:
    """The part, and |a|^2, |b|^2, <a, b>, |a - b|^2 if their shapes are equal."""
    square_a, square_b = max(0.0, a.dot(a)), max(0.0, b.dot(b))
    norms = (math.sqrt(square_a), math.sqrt(square_b))
    if a.shape != b.shape:
        return PartDifference(name, a.kind, *norms, None, None, same=False), None
    same, dot = a.equals(b), a.dot(b)
    apart = 0.0 if same else max(0.0, square_a + square_b - 2 * dot)
    sums = (square_a, square_b, dot, apart)
    return PartDifference(name, a.kind, *norms, *_ratios(*sums), same=same), sums


def _ratios(
    square_a: float, square_b: float, dot: float, apart: float
) -> tuple[float | None, float | None]:
    """|a - b| / |a| and the cosine."""
    relative = math.sqrt(apart / square_a) if square_a else None
    both = math.sqrt(square_a) * math.sqrt(square_b)
    return relative, max(-1.0, min(1.0, dot / both)) if both else None


def _most_different(part: PartDifference) -> tuple[bool, float, str]:
    """Sort key: different shapes first, then by decreasing difference."""
    unlike = part.relative is None and not part.same
    return not unlike, -(part.relative or 0.0), part.name
