"""What single methods promise beyond the grid: why they cannot detach, when dropout is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MakeBase = Callable[..., Base]


def _logits(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def test_full_without_a_copy_of_the_base_says_why_it_cannot_detach(make_base: MakeBase) -> None:
    attached = build_method(MethodSpec(name="full")).attach(make_base("llama").model)
    with pytest.raises(InputError, match=r"method\.keep_base=true"):
        attached.detach()


def test_lora_dropout_is_off_outside_training(make_base: MakeBase) -> None:
    base = make_base("llama")
    method = build_method(MethodSpec(name="lora", dropout=0.5))
    attached = method.attach(base.model)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.fill_(0.05)
    assert torch.equal(_logits(base.model), _logits(base.model))
    base.model.train()
    assert not torch.equal(_logits(base.model), _logits(base.model))
