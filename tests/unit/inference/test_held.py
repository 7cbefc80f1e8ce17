"""Rows' keys and values in C give the attention that tensors give, and a token its own bits."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from brulee.inference.held import HeldTensors
from brulee.inference.held_in_c import HeldInC
from brulee.inference.reading import Pair
from brulee.inference.row import Held, Row, Shared

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
ROOM = 48
NOBODY: Any = None  # who answers is all the same to what holds a row


def _stack(draw: torch.Generator, heads: int, length: int, width: int, dtype: torch.dtype) -> Pair:
    keys, values = torch.randn(2, 1, heads, length, width, generator=draw).to(dtype)
    return keys, values


class _Case:
    """Five rows of two groups, of which one shares nothing, held by one kind of `Held`."""

    def __init__(self, held: Held, heads: int, width: int, dtype: torch.dtype) -> None:
        draw = torch.Generator().manual_seed(0)
        self.held, self.heads, self.width, self.dtype = held, heads, width, dtype
        self.rows: list[Row] = []
        groups = [(Shared(), 70), (Shared(), 0)]
        for at, (which, own) in enumerate([(0, 3), (0, 17), (1, 31), (0, 1), (1, 9)]):
            group, shared = groups[which]
            stack = _stack(draw, heads, shared + own, width, dtype)
            if not group.layers:
                group.lay(type(held), 0, stack, shared, shared)
            held.fill(0, at, stack, shared, shared + own)
            self.rows.append(Row(group, shared, own, shared + own, NOBODY))

    def read(
        self, counts: Sequence[int], queries: int, window: int | None = None, seed: int = 1
    ) -> torch.Tensor:
        """Attention of so many new tokens of each row, and of two that are spare; (T, H, D)."""
        draw = torch.Generator().manual_seed(seed)
        # Every row's first three tokens are the same, however many of them are read.
        drawn = torch.randn(len(counts), 3, queries + 2 * self.heads, self.width, generator=draw)
        new = torch.cat([own[:n] for own, n in zip(drawn, counts, strict=True)] + [drawn[0, :2]])
        new = new.to(self.dtype).transpose(0, 1)[None]
        query, keys, values = new.split([queries, self.heads, self.heads], dim=1)
        self.held.begin(self.rows, counts, query.device)
        return self.held.attend(0, query, (keys, values), None, window)[0, : sum(counts)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 6, 40])
@pytest.mark.parametrize(("queries", "heads", "width"), [(9, 3, 64), (2, 2, 16), (7, 1, 80)])
def test_in_c_as_in_tensors(
    dtype: torch.dtype, window: int | None, queries: int, heads: int, width: int
) -> None:
    in_c = _Case(HeldInC(8, ROOM), heads, width, dtype)
    exact = _Case(HeldTensors(8, ROOM), heads, width, torch.float32)
    if dtype == torch.bfloat16:  # its numbers, computed with in fp32
        rounded = _Case(HeldTensors(8, ROOM), heads, width, torch.bfloat16)
        exact.held._buffers = {
            layer: (keys.float(), values.float())
            for layer, (keys, values) in rounded.held._buffers.items()
        }
        for row, other in zip(exact.rows, rounded.rows, strict=True):
            keys, values = other.group.layers[0]
            row.group.layers[0] = (keys.float(), values.float())
    found, expected = (case.read([1] * 5, queries, window).float() for case in (in_c, exact))
    tolerance = 2e-6 if dtype == torch.float32 else 2e-2
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 6])
def test_several_tokens_at_once_have_the_bits_of_one_by_one(
    dtype: torch.dtype, window: int | None
) -> None:
    together = _Case(HeldInC(8, ROOM), 3, 64, dtype)
    found = together.read([3, 1, 2, 3, 3], 9, window)
    one_by_one = _Case(HeldInC(8, ROOM), 3, 64, dtype)
    draws = [one_by_one.read([1] * 5, 9, window)]
    assert torch.equal(found[[0, 3, 4, 6, 9]], draws[0])
    for row in one_by_one.rows:
        row.own += 1
    # The second tokens of all rows, each after its first.
    draw = torch.Generator().manual_seed(1)
    drawn = torch.randn(5, 3, 15, 64, generator=draw)[:, 1].to(dtype).transpose(0, 1)[None]
    one_by_one.held.begin(one_by_one.rows, [1] * 5, drawn.device)
    query, keys, values = drawn.split([9, 3, 3], dim=1)
    second = one_by_one.held.attend(0, query, (keys, values), None, window)[0]
    assert torch.equal(found[[1, 5, 7, 10]], second[[0, 2, 3, 4]])


@pytest.mark.parametrize("window", [None, 6])
def test_layers_put_no_numbers_on_the_device(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take a launch of its own, in every layer and for every token."""
    case = _Case(HeldTensors(8, ROOM), 3, 64, torch.float32)
    begin = case.held.begin

    def begun(rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        begin(rows, counts, device)
        monkeypatch.setattr(torch, "tensor", None)
        monkeypatch.setattr("brulee.inference.held.on_device", None)

    monkeypatch.setattr(case.held, "begin", begun)
    assert case.read([1] * 5, 9, window).shape == (5, 9, 64)


def test_where_what_is_shared_ends_changes_no_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    stack, found = _stack(draw, 3, 75, 64, torch.float32), []
    new = torch.randn(1, 15, 1, 64, generator=draw)
    query, keys, values = new.split([9, 3, 3], dim=1)
    for shared in (0, 5, 64, 74):
        held, group = HeldInC(2, 80), Shared()
        for stop in (0, shared // 3, shared // 2, shared):  # a prompt is laid as it is read
            group.lay(HeldInC, 0, stack, shared, stop)
        held.fill(0, 0, stack, shared, 75)
        held.begin([Row(group, shared, 75 - shared, 75, NOBODY)], [1], new.device)
        found.append(held.attend(0, query, (keys, values), None, None))
    assert all(torch.equal(one, found[0]) for one in found)


def test_rows_that_move_take_their_own_with_them() -> None:
    moved = _Case(HeldInC(8, ROOM), 3, 64, torch.float32)
    still = _Case(HeldInC(8, ROOM), 3, 64, torch.float32)
    expected = still.read([1] * 5, 9)
    moved.held.copy([(0, 4)], 9)
    moved.rows[0] = moved.rows[4]
    draw = torch.Generator().manual_seed(1)
    drawn = torch.randn(5, 3, 15, 64, generator=draw)[4, :1].transpose(0, 1)[None]
    query, keys, values = drawn.split([9, 3, 3], dim=1)
    moved.held.begin(moved.rows[:1], [1], drawn.device)
    assert torch.equal(moved.held.attend(0, query, (keys, values), None, None)[0, 0], expected[4])


def test_heads_that_no_loop_fits_are_held_as_tensors() -> None:
    draw = torch.Generator().manual_seed(0)
    assert HeldInC.fits(_stack(draw, 3, 5, 64, torch.float32))
    assert not HeldInC.fits(_stack(draw, 3, 5, 24, torch.float32))
    assert not HeldInC.fits(_stack(draw, 3, 5, 64, torch.float16))


def test_where_rows_move_to_is_copied_to_a_device_once_for_all_layers() -> None:
    class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
        count = 0

        def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func is torch.ops.aten._to_copy.default
            return func(*args, **(kwargs or {}))

    held = HeldTensors(4, ROOM)
    for layer in range(8):
        stack = (torch.zeros(1, 2, 5, 4, device="meta"), torch.zeros(1, 2, 5, 4, device="meta"))
        held.fill(layer, 3, stack, 0, 5)
    with Copies() as copies:  # type: ignore[no-untyped-call]
        held.copy([(0, 3)], 5)
    assert copies.count <= 2


@pytest.mark.parametrize("shared", [0, 70])
def test_scores_of_hundreds_are_not_rounded_to_whole_numbers(shared: int) -> None:
    """In bfloat16 they would be, and weights off by a factor of e."""
    draw, found = torch.Generator().manual_seed(0), []
    keys, values = _stack(draw, 2, 90, 64, torch.float32)
    query, *new = torch.randn(1, 10, 1, 64, generator=draw).split([6, 2, 2], dim=1)
    for one in (keys, query):
        one[..., :8] += 16  # in all scores, so that they are large and differ little
    for dtype in (torch.bfloat16, torch.float32):
        held, group = HeldTensors(2, 100), Shared()
        stack, own = ([x.bfloat16().to(dtype) for x in each] for each in ((keys, values), new))
        group.lay(HeldTensors, 0, (stack[0], stack[1]), shared, shared)
        held.fill(0, 0, (stack[0], stack[1]), shared, 90)
        held.begin([Row(group, shared, 90 - shared, 90, NOBODY)], [1], query.device)
        asked = query.bfloat16().to(dtype)
        found.append(held.attend(0, asked, (own[0], own[1]), None, None).float())
    assert (query[0, 0, 0] @ keys[0, 0].T / 8).max() > 200
    assert (found[0] - found[1]).norm() < 1e-2 * found[1].norm()
