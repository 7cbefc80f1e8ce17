"""Trained values are converted anew after each change, and only then."""

from __future__ import annotations

import pytest
import torch

from brulee.models.held import Held
from brulee.models.linear_parts import LinearParts, parts_of


def test_a_trained_weight_is_converted_anew_after_each_change() -> None:
    trained = torch.ones(4, 3, requires_grad=True)
    held = Held(torch.bfloat16)
    first = held.of(LinearParts(trained)).weight
    with torch.no_grad():
        trained.mul_(2)
    assert held.of(LinearParts(trained)).weight is first
    assert first.max() == 1, "nobody has said that it changed"
    held.renew()
    assert held.of(LinearParts(trained)).weight.min() == 2


def test_what_has_the_format_already_is_not_copied() -> None:
    frozen = torch.ones(4, 3)
    assert Held(torch.float32).tensor(frozen).data_ptr() == frozen.data_ptr()


def test_four_bits_that_lie_in_floating_point_numbers_are_not_taken_for_values() -> None:
    """As bitsandbytes stores them where `bnb_4bit_quant_storage` says so."""
    bnb = pytest.importorskip("bitsandbytes")
    module = bnb.nn.Linear4bit(64, 32, bias=False, quant_storage=torch.bfloat16)
    module.weight.data = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    module.to("cpu")
    parts = parts_of(module)
    assert parts is not None
    assert parts.weight.dtype == torch.bfloat16
    for dtype in (torch.bfloat16, torch.float32):
        assert Held(dtype).of(parts).matrix(dtype).shape == (32, 64)
