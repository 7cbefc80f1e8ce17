"""What a projection's backward pass leaves out on a GPU, seen without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from brulee.models import fused_projection
from brulee.models.dropping import drop
from brulee.models.fused_projection import _joined, _scales_and_widens
from brulee.models.linear_parts import LinearParts

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    _scales_and_widens.cache_clear()
    yield
    _scales_and_widens.cache_clear()


def _right(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, **how: Any) -> torch.Tensor:
    assert how["beta"] == 0, "x is not read"
    return (how["alpha"] * (a.double() @ b.double())).to(how["out_dtype"])


def _reads_what_it_should_not(
    x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, **how: Any
) -> torch.Tensor:
    return _right(x, a, b, **how) + 0 * x


def _forgets_the_number(
    x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, **how: Any
) -> torch.Tensor:
    return _right(x, a, b, **{**how, "alpha": 1.0})


@pytest.mark.parametrize(
    ("addmm", "works"),
    [(_right, True), (_reads_what_it_should_not, False), (_forgets_the_number, False)],
)
def test_a_product_that_scales_and_widens_is_used_where_it_is_right(
    addmm: Callable[..., torch.Tensor], works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "addmm", addmm)
    assert _scales_and_widens(CPU, torch.bfloat16) is works


def test_a_torch_that_has_no_such_product_is_asked_for_none() -> None:
    assert not _scales_and_widens(CPU, torch.bfloat16), "a GPU's alone"


def test_the_gradient_of_b_comes_wide_out_of_its_product(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU(torch.Tensor):
        is_cuda = True

    seen: list[torch.dtype] = []

    def addmm(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, **how: Any) -> torch.Tensor:
        seen.append(x.dtype)
        return _right(x, *(t.as_subclass(torch.Tensor) for t in (a, b)), **how)

    monkeypatch.setattr(fused_projection, "_scales_and_widens", lambda *_: True)
    monkeypatch.setattr(torch, "addmm", addmm)
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=draw).bfloat16() for size in ((5, 7), (7, 3)))
    found = fused_projection._scaled_gradient(a.as_subclass(OnGPU), b, 2.0, torch.float32)
    assert found.dtype == torch.float32
    assert seen == [torch.float32], "torch wants what is added in the format of the product"
    torch.testing.assert_close(found.double(), 2.0 * (a.double() @ b.double()))


def test_one_matrix_is_not_copied() -> None:
    one, other = torch.ones(2, 3), torch.zeros(2, 3)
    assert _joined([one], dim=1) is one
    assert _joined([one, other], dim=1).shape == (2, 6)


def _maps(shares: tuple[float, ...]) -> list[LinearParts]:
    """Maps of one input, the second of which has no correction."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()

    plain = LinearParts(drawn(4, 6), drawn(4))
    corrected = [
        LinearParts(drawn(5, 6), None, drawn(2 + i, 6), drawn(5, 2 + i), 0.5, share)
        for i, share in enumerate(shares)
    ]
    return [corrected[0], plain, *corrected[1:]]


@pytest.mark.parametrize("shares", [(0.3, 0.3), (0.3, 0.0, 0.6)])
def test_each_correction_reads_an_x_of_its_own_that_is_dropped_out_of(
    shares: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs and all gradients are those of the formula with the values that were dropped."""
    maps, seeds = _maps(shares), iter(range(1, 9))
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, plain = (x.clone().requires_grad_() for _ in range(2))
    trained = [t for m in maps for t in (m.weight, m.bias, m.a, m.b)]
    monkeypatch.setattr(fused_projection, "drawn_seed", lambda: next(seeds))
    found = fused_projection._Project.apply(ours, maps, None, *trained)
    expected, seed = [], 0
    for m in maps:
        y = plain @ m.weight.T + (0 if m.bias is None else m.bias)
        if m.a is not None and m.b is not None:
            seed += 1
            kept = drop(torch.ones_like(plain), m.dropout, seed).detach()
            y = y + m.scale * (plain * kept) @ m.a.T @ m.b.T
        expected.append(y)
    leaves = [t for t in trained if t is not None]
    weights = [torch.randn_like(y) for y in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    mine, exact = (
        torch.autograd.grad(ys, [given, *leaves], weights)
        for ys, given in ((found, ours), (expected, plain))
    )
    for a, b in zip(mine, exact, strict=True):
        torch.testing.assert_close(a, b)


def test_every_map_has_a_seed_of_its_own() -> None:
    """As in PEFT: two corrections of one input do not drop the same values."""
    torch.manual_seed(0)
    found = fused_projection._seeds(_maps((0.5, 0.5)))
    assert found is not None
    assert len(set(found)) == 2
    assert fused_projection._seeds(_maps((0.0, 0.0))) is None
