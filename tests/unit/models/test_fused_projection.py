"""What a projection's backward pass leaves out on a GPU, seen without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from brulee.models import fused_projection
from brulee.models.fused_projection import _joined, _scales_and_widens

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
