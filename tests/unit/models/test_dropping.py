"""Dropout by a seed: how many values, which, and the same ones on the way back."""

from __future__ import annotations

import math

import pytest
import torch

from brulee.models.dropping import drawn_seed, drop, dropped

SHARES = [0.05, 0.1, 0.5, 0.9]


@pytest.fixture(params=["c", "torch"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BRULEE_KERNELS", "" if request.param == "c" else "torch")
    return str(request.param)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.usefixtures("kernels")
def test_a_share_of_the_values_is_dropped_and_the_mean_stays(share: float) -> None:
    """Within five standard errors of what independent draws give, at every place of a row too."""
    torch.manual_seed(0)
    y = dropped(torch.ones(400, 500), share)
    gone = (y == 0).double()
    spread = math.sqrt(share * (1 - share))
    assert abs(gone.mean() - share) < 5 * spread / math.sqrt(y.numel())
    for dim in (0, 1):
        each = gone.mean(dim)
        assert (each - share).abs().max() < 5 * spread / math.sqrt(gone.shape[dim])
        expected = spread / math.sqrt(gone.shape[dim])
        assert each.std() == pytest.approx(expected, rel=0.2), "neither alike nor bunched"
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-4)


@pytest.mark.usefixtures("kernels")
def test_neighbours_places_and_seeds_have_nothing_to_do_with_each_other() -> None:
    torch.manual_seed(0)
    x = torch.ones(2**17)
    one, other = ((drop(x, 0.3, seed) == 0).double() - 0.3 for seed in (drawn_seed(), drawn_seed()))
    pairs = [(one, other), *((one[step:], one[:-step]) for step in (1, 2, 4, 16, 64, 256, 2**15))]
    for a, b in pairs:
        assert abs((a * b).mean()) / 0.21 < 5 / math.sqrt(len(a))
    close = drop(x, 0.3, 12), drop(x, 0.3, 13)
    a, b = ((y == 0).double() - 0.3 for y in close)
    assert abs((a * b).mean()) / 0.21 < 5 / math.sqrt(len(a))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.usefixtures("kernels")
def test_the_gradient_goes_where_values_went(dtype: torch.dtype) -> None:
    x = torch.ones(30, 40, dtype=dtype, requires_grad=True)
    y = dropped(x, 0.4)
    y.backward(torch.full_like(y, 2))
    assert x.grad is not None
    assert torch.equal(x.grad, 2 * y)
    assert 0 < (y == 0).double().mean() < 1


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("lies", ["expanded", "transposed"])
def test_a_gradient_that_lies_otherwise_in_memory_goes_there_too(lies: str) -> None:
    x = torch.ones(30, 40, requires_grad=True)
    y = dropped(x, 0.4)
    grad = torch.ones(()).expand(30, 40) if lies == "expanded" else torch.ones(40, 30).T
    y.backward(grad)
    assert x.grad is not None
    assert torch.equal(x.grad, y)


@pytest.mark.usefixtures("kernels")
def test_all_can_be_dropped() -> None:
    assert not dropped(torch.ones(30, 40), 1.0).any()
    assert not dropped(torch.ones(30, 40), 1 - 2**-20).any(), "the nearest multiple is all"


@pytest.mark.usefixtures("kernels")
def test_the_same_numbers_of_torch_drop_the_same_values() -> None:
    x = torch.ones(1000)
    torch.manual_seed(4)
    first = dropped(x, 0.5)
    second = dropped(x, 0.5)
    torch.manual_seed(4)
    assert torch.equal(dropped(x, 0.5), first)
    assert not torch.equal(second, first)


@pytest.mark.usefixtures("kernels")
def test_in_its_own_place_and_across_rows() -> None:
    x = torch.arange(1.0, 25).view(4, 6)
    expected = drop(x, 0.5, 9)
    assert torch.equal(drop(x.T.contiguous().T, 0.5, 9), expected)
    assert torch.equal(drop(x[:1].expand(4, 6), 0.5, 9) == 0, expected == 0)
    assert torch.equal(drop(x, 0.5, 9, into=x), expected)
    assert torch.equal(x, expected)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    x = torch.ones(3)
    assert dropped(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mask_is_where_the_values_are() -> None:
    """As on a GPU, which has no loop for this; attention with capped scores or sinks drops so."""
    assert drop(torch.ones(4, 5, device="meta"), 0.5, 7).device.type == "meta"
