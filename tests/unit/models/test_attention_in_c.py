"""Attention through loops in C, in whichever way, is the attention of the same values."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Sequence

import pytest
import torch

from brulee.models import fused_attention, kernels
from brulee.models.attention_in_c import attend_in_c, table_of
from brulee.models.fused_attention import attend, reading
from brulee.models.kernels import in_c
from brulee.models.spans import Span, asking, spans_of

CPU = torch.device("cpu")
# bf16 with the matrix units of a processor that has them, and with its vector units alone; fp32 in
# vectors of each length.
BF16, FP32 = torch.bfloat16, torch.float32
WAYS = {
    "bf16": (BF16, []),
    "bf16 without tiles": (BF16, ["-mno-amx-bf16"]),
    "fp32": (FP32, []),
    "fp32 in AVX2": (FP32, ["-mno-avx512f"]),
    "fp32 in SSE": (FP32, ["-mno-avx"]),
}
# How far a result may be off in all, and at one place, and what is left where it should be zero:
# of a document of one token no gradient reaches queries or keys.
CLOSE = {BF16: (5e-3, 2e-2, 1e-5), FP32: (2e-6, 1e-5, 5e-5)}
# Segments, how many rows they share, and how many of each ask.
PACKS: dict[str, tuple[tuple[int, ...], int, tuple[int, ...]]] = {
    "one token": ((1,), 0, (1,)),
    "one block": ((32,), 0, (32,)),
    "one row more": ((33,), 0, (33,)),
    "documents": ((3, 65, 1, 40), 0, (3, 65, 1, 40)),
    "a common beginning": ((7, 5, 60, 1), 7, (7, 5, 60, 1)),
    "the last layer": ((7, 5, 60, 40), 7, (0, 2, 33, 1)),
    "long": ((1100,), 0, (1100,)),
}
HEADS = [(1, 1, 32), (6, 2, 64), (4, 4, 96)]
# With and without a window: of three keys, within a block, a block, and beyond several.
CASES = [*((heads, None) for heads in HEADS), *((HEADS[1], w) for w in (3, 5, 32, 33, 100))]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.dtype]:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    dtype, flags = WAYS[request.param]
    if flags and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("a flag of x86 processors")
    monkeypatch.delenv("BRULEE_KERNELS", raising=False)
    monkeypatch.setattr(in_c, "_FLAGS", [*in_c._FLAGS, *flags])
    _forget()
    if kernels.kernel("attend_forward", torch.zeros(1, dtype=dtype)) is None:
        pytest.skip("needs a processor with bf16 products")
    yield dtype
    _forget()


def _forget() -> None:
    for found in (kernels._found, in_c.loop, in_c._library):
        found.cache_clear()


def _drawn(
    dtype: torch.dtype, spans: Sequence[Span], keys: int, heads: tuple[int, int, int]
) -> list[torch.Tensor]:
    """Queries, keys, values and the gradient of what is read; two rows of each fill up."""
    draw = torch.Generator().manual_seed(0)
    many, few, width = heads
    rows = spans[-1].queries.stop + 2
    shapes = [(rows, many, width), (keys + 2, few, width), (keys + 2, few, width)]
    found = [torch.randn(shape, generator=draw) for shape in (*shapes, shapes[0])]
    return [x.to(dtype) for x in found]


def _ours(
    drawn: list[torch.Tensor], spans: list[Span], window: int | None = None, *sinks: torch.Tensor
) -> list[torch.Tensor]:
    inputs = [x.clone().requires_grad_() for x in (*drawn[:3], *sinks)]
    out = attend_in_c(*inputs[:3], table_of(spans), 0.2, window, *inputs[3:])
    assert out is not None
    return [out, *torch.autograd.grad(out, inputs, drawn[3])]


def _exact(
    drawn: list[torch.Tensor], spans: list[Span], window: int | None = None, *sinks: torch.Tensor
) -> list[torch.Tensor]:
    inputs = [x.double().requires_grad_() for x in (*drawn[:3], *sinks)]
    read = reading(spans, len(inputs[1]), CPU)
    out = attend(*inputs[:3], read, 0.2, window, None, 0.0, *inputs[3:])
    d_out = drawn[3].double()
    d_out[spans[-1].queries.stop :] = 0  # what fills up reads nothing, so nothing comes back
    return [out, *torch.autograd.grad(out, inputs, d_out)]


@pytest.mark.parametrize("window", [None, 5])
def test_sinks_take_their_share(way: torch.dtype, window: int | None) -> None:
    segments, shared, asked = PACKS["the last layer"]
    spans, heads = asking(segments, shared, asked), (6, 2, 32)
    drawn, sinks = _drawn(way, spans, sum(segments), heads), torch.linspace(-2, 4, 6)
    ours, exact = _ours(drawn, spans, window, sinks), _exact(drawn, spans, window, sinks)
    for mine, truth in zip(ours, exact, strict=True):
        assert float(((mine - truth).norm() / truth.norm()).detach()) < CLOSE[way][0]
    # What one query of one document reads, written out.
    q, k, v = (x.double() for x in drawn[:3])
    last = spans[-1]
    at = slice(last.keys.stop - 5, last.keys.stop) if window else last.keys
    seen = list(range(at.start, at.stop))
    seen = seen if window else [*range(last.shared), *seen]
    row, head = last.queries.stop - 1, 4
    scores = 0.2 * k[seen, head // 3] @ q[row, head]
    weights = torch.cat([scores, sinks[head : head + 1].double()]).softmax(0)[:-1]
    torch.testing.assert_close(exact[0][row, head].detach(), weights @ v[seen, head // 3])


@pytest.mark.diagonal("heads,window", "pack", "way", lines=4)
@pytest.mark.parametrize(("heads", "window"), CASES, ids=str)
@pytest.mark.parametrize("pack", PACKS)
def test_output_and_gradients(
    way: torch.dtype, pack: str, heads: tuple[int, int, int], window: int | None
) -> None:
    segments, shared, asked = PACKS[pack]
    spans = asking(segments, shared, asked)
    drawn = _drawn(way, spans, sum(segments), heads)
    ours, exact = _ours(drawn, spans, window), _exact(drawn, spans, window)
    for mine, truth in zip(ours, exact, strict=True):
        assert mine.dtype == way
        in_all, at_most, left = CLOSE[way]
        assert (mine - truth).norm() <= in_all * truth.norm() + left
        assert (mine - truth).abs().max() <= at_most * truth.abs().max() + 1e-5
    assert not ours[0][-2:].any(), "rows that fill up read nothing"
    assert not any(x[-2:].any() for x in ours[1:]), "and nothing comes back through them"


@pytest.mark.parametrize("kind", ["loops in C", "small products", "torch"])
@pytest.mark.parametrize("values", [8, 64])
def test_values_may_be_of_another_width_than_keys(
    kind: str, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every kind of attention; loops in C take narrower ones alone."""
    segments, shared, asked = PACKS["the last layer"]
    spans, heads = asking(segments, shared, asked), (6, 2, 32)
    drawn = _drawn(FP32, spans, sum(segments), heads)
    drawn[2] = torch.randn(len(drawn[1]), 2, values, generator=torch.Generator().manual_seed(1))
    drawn[3] = torch.randn(len(drawn[0]), 6, values, generator=torch.Generator().manual_seed(2))
    exact = _exact(drawn, spans)
    if kind != "loops in C":
        monkeypatch.setenv("BRULEE_KERNELS", "torch")
    if kind == "torch":
        monkeypatch.setattr(fused_attention, "LONGEST", 2)
    inputs = [x.clone().requires_grad_() for x in drawn[:3]]
    out = attend(*inputs, reading(spans, len(drawn[1]), CPU), 0.2)
    ours = [out, *torch.autograd.grad(out, inputs, drawn[3])]
    for mine, truth in zip(ours, exact, strict=True):
        assert mine.shape == truth.shape
        assert float(((mine - truth).norm() / truth.norm()).detach()) < 1e-5
    # What one query of one document reads, written out.
    q, k, v = (x.double() for x in drawn[:3])
    last = spans[-1]
    seen = [*range(last.shared), *range(last.keys.start, last.keys.stop)]
    row, head = last.queries.stop - 1, 4
    weights = (0.2 * k[seen, head // 3] @ q[row, head]).softmax(0)
    torch.testing.assert_close(exact[0][row, head].detach(), weights @ v[seen, head // 3])


def test_the_number_of_threads_changes_nothing(way: torch.dtype) -> None:
    segments = (9, 70, 33, 50, 12)
    spans = spans_of(segments, 9)
    drawn = _drawn(way, spans, sum(segments), (6, 2, 64))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_ours(drawn, spans))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_large_scores_neither_overflow_nor_vanish(way: torch.dtype) -> None:
    spans = spans_of((40,), 0)
    drawn = _drawn(way, spans, 40, (2, 1, 32))
    drawn[0], drawn[1] = drawn[0] * 100, drawn[1] * 100
    for mine, truth in zip(_ours(drawn, spans), _exact(drawn, spans), strict=True):
        assert mine.isfinite().all()
        # Weights are zeros and ones: their gradients are differences of nearly the same.
        assert (mine - truth).norm() <= 0.02 * max(1.0, truth.detach().norm())


def test_what_is_not_finite_reaches_those_who_read_it_and_no_others(way: torch.dtype) -> None:
    spans = spans_of((40,), 0)
    drawn = _drawn(way, spans, 40, (2, 1, 32))
    drawn[1][35, 0, 0] = float("nan")
    out = _ours(drawn, spans)[0]
    assert out[:35].isfinite().all()
    assert not out[35:40].isfinite().any()


def test_products_of_pytorch_are_the_same_after_it(way: torch.dtype) -> None:
    """Its library keeps the matrix units set up for itself."""
    x, w = torch.randn(70, 64).to(way), torch.randn(64, 64).to(way)
    before = x @ w
    spans = spans_of((40,), 0)
    _ours(_drawn(way, spans, 40, (2, 1, 32)), spans)
    assert torch.equal(x @ w, before)


@pytest.mark.parametrize(("dtype", "width"), [(torch.float64, 64), (FP32, 40), (BF16, 40)])
def test_other_formats_and_widths_are_left_to_others(dtype: torch.dtype, width: int) -> None:
    x = torch.zeros(3, 1, width, dtype=dtype)
    assert attend_in_c(x, x, x, table_of(spans_of((3,), 0)), 1.0) is None
    assert attend(x, x, x, reading(spans_of((3,), 0), 3, CPU), 1.0).shape == x.shape
