"""The gradient's norm and its clipping are PyTorch's, whatever computes them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from brulee.training import together
from brulee.training.together import clip
from brulee.training.world import World

SHAPES = [(300, 17), (5,), (), (2, 3, 4)]


def _parameters() -> Iterator[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        parameter = nn.Parameter(torch.zeros(shape))
        parameter.grad = torch.randn(shape, generator=draw)
        yield parameter
    yield nn.Parameter(torch.zeros(3))  # without a gradient
    turned = nn.Parameter(torch.zeros(7, 2))
    turned.grad = torch.randn(2, 7, generator=draw).T
    yield turned


@pytest.mark.parametrize("limit", [0.5, 1e4, math.inf])
def test_the_norm_and_what_is_left_are_pytorchs(limit: float) -> None:
    ours, theirs = [*_parameters()], [*_parameters()]
    found = clip(World(), ours, limit)
    torch.testing.assert_close(found, torch.nn.utils.clip_grad_norm_(theirs, limit))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_what_is_below_the_limit_keeps_its_bits() -> None:
    parameters, before = [*_parameters()], [*_parameters()]
    norm = clip(World(), parameters, 1e4)
    assert clip(World(), parameters, norm.item()) == norm
    for after, held in zip(parameters, before, strict=True):
        assert (after.grad is None) == (held.grad is None)
        assert after.grad is None or torch.equal(after.grad, held.grad)


def test_a_gradient_that_is_not_finite_is_told_by_its_norm() -> None:
    parameters = [*_parameters()]
    parameters[0].grad[3, 3] = math.nan
    assert math.isnan(clip(World(), parameters, 1.0))
    assert clip(World(), parameters[4:5], 1.0) == 0


def test_without_any_gradient_the_norm_is_where_the_parameters_are() -> None:
    parameter = nn.Parameter(torch.zeros(3, device="meta"))
    assert clip(World(), [parameter], 1.0).device == parameter.device


def test_a_process_without_any_gradient_adds_nothing_to_the_norm_of_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "are_sharded", lambda _: True)
    parameter = nn.Parameter(torch.zeros(3))
    assert clip(World(), [parameter], 1.0) == 0
