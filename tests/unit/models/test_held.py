"""Trained values are converted anew after each change, and only then."""

from __future__ import annotations

import torch

from brulee.models.held import Held
from brulee.models.linear_parts import LinearParts


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
