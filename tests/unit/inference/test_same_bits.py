"""What experts make of a token does not depend on the tokens beside it, to the bit."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from brulee.inference.same_bits import SameBits
from brulee.methods import build_method
from brulee.recipe import MethodSpec

make_experts = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))["make_experts"]
SIZES = {"hidden_size": 256, "moe_intermediate_size": 384, "intermediate_size": 384}


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("name", ["qwen3", "gpt-oss"])
@torch.no_grad()
def test_a_token_comes_out_of_the_experts_the_same_beside_any_others(
    name: str, tuned: bool
) -> None:
    model = make_experts(name, num_hidden_layers=1, **SIZES)
    if tuned:
        attached = build_method(MethodSpec(name="lora", target=["experts", "router"])).attach(model)
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.normal_(0, 0.1)
    block = model.model.layers[0].mlp
    x = torch.randn(1, 160, 256, generator=torch.Generator().manual_seed(0))
    plain = _of(block, x)
    with SameBits():
        whole = _of(block, x)
        for count in (2, 3, 7, 16, 31, 113):
            for start in (0, 40):
                part = _of(block, x[:, start : start + count])
                assert torch.equal(part, whole[start : start + count]), (count, start)
    torch.testing.assert_close(whole, plain, rtol=1e-4, atol=1e-4)


def _of(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    made = block(x)
    out: torch.Tensor = (made[0] if isinstance(made, tuple) else made)[0]
    return out
