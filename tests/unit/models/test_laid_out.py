"""A weight laid out once gives the products that it gives as it lies."""

from __future__ import annotations

import pytest
import torch

from brulee.models.held import Held
from brulee.models.laid_out import AsItLies, LaidOut, weight_for
from brulee.models.linear_parts import LinearParts

T, I, O = 7, 24, 40  # noqa: E741


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    sizes = ((O, I), (T, I), (T, O))
    weight_OI, x_TI, d_y = (torch.randn(size, generator=draw).bfloat16() for size in sizes)
    return weight_OI, x_TI, d_y


def test_products_are_those_of_the_weight_as_it_lies() -> None:
    weight_OI, x_TI, d_y = _case()
    plain, laid_out = AsItLies(weight_OI), weight_for(weight_OI, frozen=True)
    close = {"rtol": 2e-2, "atol": 5e-2}
    torch.testing.assert_close(laid_out.forward(x_TI), plain.forward(x_TI), **close)
    torch.testing.assert_close(laid_out.back(d_y), plain.back(d_y), **close)
    onto = x_TI.clone(), x_TI.clone()
    found, expected = laid_out.back(d_y, onto[0]), plain.back(d_y, onto[1])
    torch.testing.assert_close(found, expected, **close)


def test_only_frozen_bfloat16_weights_are_laid_out() -> None:
    weight_OI, *_ = _case()
    assert isinstance(weight_for(weight_OI, frozen=False), AsItLies)
    assert isinstance(weight_for(weight_OI.float(), frozen=True), AsItLies)


def test_a_torch_without_the_operators_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brulee.models.laid_out._lays_out", lambda: False)
    assert isinstance(weight_for(_case()[0], frozen=True), AsItLies)


def test_a_trained_weight_is_converted_anew_after_each_change() -> None:
    weight_OI, x_TI, _ = _case()
    trained = weight_OI.float().requires_grad_()
    held = Held(torch.bfloat16)
    before = held.of(LinearParts(trained)).weight.forward(x_TI)
    with torch.no_grad():
        trained.mul_(2)
    held.renew()
    torch.testing.assert_close(held.of(LinearParts(trained)).weight.forward(x_TI), 2 * before)


def test_what_is_laid_out_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brulee.models.held.LAID_OUT_BYTES", 3 * O * I * 2)
    held = Held(torch.bfloat16)
    first, second, third = (held.of(LinearParts(_case()[0].clone())).weight for _ in range(3))
    assert isinstance(third, AsItLies)
    assert type(first) is type(second)


def test_a_frozen_weight_is_laid_out_once() -> None:
    held = Held(torch.bfloat16)
    parts = LinearParts(_case()[0])
    first = held.of(parts).weight
    held.renew()
    assert held.of(parts).weight is first
    assert isinstance(first, LaidOut | AsItLies)
