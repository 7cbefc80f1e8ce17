"""What is computed for a row does not depend on the rows beside it, to the bit."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from brulee.inference import same_bits
from brulee.inference.same_bits import SameBits, attended
from brulee.methods import build_method
from brulee.recipe import MethodSpec

make_experts = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))["make_experts"]
SIZES = {"hidden_size": 256, "moe_intermediate_size": 384, "intermediate_size": 384}


@pytest.fixture(autouse=True)
def _loops_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the loops in C, torch 2.11 sums in another order beside other rows."""
    monkeypatch.delenv("BRULEE_KERNELS", raising=False)


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


@pytest.mark.parametrize("outputs", [32, 128, 576])
@pytest.mark.parametrize("rank", [3, 16, 128])  # 128: of sixteen adapters
@torch.no_grad()
def test_a_low_rank_correction_is_the_same_beside_any_rows(rank: int, outputs: int) -> None:
    draw = torch.Generator().manual_seed(0)
    h, b = (torch.randn(size, rank, generator=draw) for size in (150, outputs))
    y = torch.randn(150, outputs, generator=draw)
    exact = y.double() + 2 / 3 * (h.double() @ b.double().T)
    with SameBits():
        whole = y.clone().addmm_(h, b.T, alpha=2 / 3)
        for count in (1, 2, 7, 16, 31, 64, 113):
            found = y[:count].clone().addmm_(h[:count], b.T, alpha=2 / 3)
            assert torch.equal(found, whole[:count]), count
    torch.testing.assert_close(whole.double(), exact, rtol=1e-5, atol=1e-4)


def _of(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    made = block(x)
    out: torch.Tensor = (made[0] if isinstance(made, tuple) else made)[0]
    return out


@pytest.fixture
def by_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear maps are computed by the loop in C on processors too where oneDNN would do it."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    monkeypatch.setattr(same_bits, "_by_onednn", lambda: False)


@pytest.mark.parametrize("lies", ["by outputs", "by inputs", "apart"])
@pytest.mark.parametrize(("inputs", "outputs"), [(300, 70), (16, 5), (1, 33)])
def test_a_row_of_a_linear_map_has_the_same_bits_beside_any_others(
    by_loop: None, inputs: int, outputs: int, lies: str
) -> None:
    draw = torch.Generator().manual_seed(0)
    x, bias = torch.randn(500, inputs, generator=draw), torch.randn(outputs, generator=draw)
    weight = torch.randn(outputs, inputs, generator=draw)
    if lies == "by inputs":
        weight = weight.t().contiguous().t()
    elif lies == "apart":
        weight = torch.stack([weight, weight], 2)[:, :, 0]
    for beside in (bias, None):
        with SameBits():
            whole = F.linear(x, weight, beside)
            for count in (1, 2, 5, 6, 7, 64, 241):
                assert torch.equal(F.linear(x[7:][:count], weight, beside), whole[7:][:count])
            assert torch.equal(F.linear(x.view(5, 100, -1), weight, beside).view_as(whole), whole)
        exact = F.linear(x.double(), weight.double(), beside if beside is None else beside.double())
        torch.testing.assert_close(whole.double(), exact, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(by_loop: None, threads: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(700, 90, generator=draw), torch.randn(75, 90, generator=draw)
    before = torch.get_num_threads()
    try:
        with SameBits():
            torch.set_num_threads(1)
            alone = F.linear(x, weight)
            torch.set_num_threads(threads)
            assert torch.equal(F.linear(x, weight), alone)
    finally:
        torch.set_num_threads(before)


def test_attention_has_the_same_bits_with_other_queries_and_with_keys_that_nobody_sees(
    by_loop: None,
) -> None:
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, 6, 40, 32, generator=draw)
    keys, values = (torch.randn(1, 2, 400, 32, generator=draw) for _ in range(2))
    mask = torch.zeros(40, 400)
    mask[:, 150:] = -torch.inf
    whole = attended(query, keys, values, mask, None)
    for few in (1, 2, 7, 31):
        some = attended(query[:, :, :few], keys, values, mask[:few], None)
        assert torch.equal(some, whole[:, :few])
    seen = attended(query, keys[:, :, :160], values[:, :, :160], mask[:, :160], None)
    torch.testing.assert_close(seen, whole, rtol=1e-5, atol=1e-6)
