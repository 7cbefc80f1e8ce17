"""What is refused before a training begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.models.loading import Base
from brulee.pipeline.tuning import check_sharded
from brulee.recipe import MethodSpec


@pytest.mark.parametrize(
    ("method", "quantised", "said"),
    [
        ({"name": "lora"}, None, None),
        ({"name": "lora"}, "nf4", "method lora: weights in nf4 are not sharded"),
        ({"name": "selective", "train": "norms"}, None, None),
        ({"name": "selective", "train": "sparse"}, None, "method selective: it writes into the"),
    ],
)
def test_what_cannot_be_sharded(
    make_base: Callable[..., Base], method: dict[str, str], quantised: str | None, said: str | None
) -> None:
    own, base = build_method(MethodSpec(**method)), replace(make_base(), quantised=quantised)
    if said is None:
        check_sharded(own, base)
        return
    with pytest.raises(InputError, match=f"{said}.*; start without ACCELERATE_USE_FSDP"):
        check_sharded(own, base)
