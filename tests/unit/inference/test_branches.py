"""Nothing that requests have in common stands twice, and every token can see its own."""

from __future__ import annotations

import random

import numpy as np
import pytest

from brulee.inference.branches import Branch, Stream, lay_out

REQUESTS = [(7, 1, 2, 3), (7, 5, 3), (7, 1, 2, 4), (7, 1, 2), (7, 1, 2, 3)]


def _drawn(seed: int) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    return [tuple(draw.choices(range(3), k=draw.randrange(0, 9))) for _ in range(30)]


def _distinct_prefixes(requests: list[tuple[int, ...]]) -> int:
    return len({r[:n] for r in requests for n in range(1, len(r) + 1)})


def test_what_is_common_stands_once() -> None:
    stream = lay_out(REQUESTS)
    assert stream.ids.tolist() == [7, 1, 2, 3, 4, 5, 3]
    assert stream.depths.tolist() == [0, 1, 2, 3, 3, 1, 2]
    assert [p.tolist() for p in stream.paths] == [
        [0, 1, 2, 3], [0, 5, 6], [0, 1, 2, 4], [0, 1, 2], [0, 1, 2, 3],
    ]  # fmt: skip
    assert stream.deepest == 4


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_is_as_long_as_there_are_beginnings(seed: int) -> None:
    requests = _drawn(seed)
    stream = lay_out(requests)
    assert len(stream.ids) == _distinct_prefixes(requests)
    for request, path in zip(requests, stream.paths, strict=True):
        assert tuple(stream.ids[path]) == request
        assert stream.depths[path].tolist() == list(range(len(request)))


@pytest.mark.parametrize("tokens", [1, 3, 1000])
def test_every_token_finds_its_request_on_the_stack(tokens: int) -> None:
    requests = _drawn(9)
    stream = lay_out(requests)
    beginnings = {r[:n] for r in requests for n in range(1, len(r) + 1)}
    stack: dict[int, int] = {}
    for part in stream.passes(0, len(stream.ids), tokens):
        assert part.stop - part.start <= tokens
        assert part.branches[-1].stop == part.stop - part.start
        for branch in part.branches:
            for k in range(branch.tokens):
                stack[branch.depth + k] = int(stream.ids[part.start + branch.start + k])
                seen = tuple(stack[d] for d in range(branch.depth + k + 1))
                assert seen in beginnings
                beginnings.remove(seen)
    assert not beginnings


def test_a_branch_that_is_cut_goes_on_at_its_depth() -> None:
    passes = list(lay_out(REQUESTS).passes(0, 7, 3))
    assert [p.branches for p in passes] == [
        (Branch(0, 3, 0),),
        (Branch(0, 1, 3), Branch(1, 2, 3), Branch(2, 3, 1)),
        (Branch(0, 1, 2),),
    ]


def test_the_order_of_requests_does_not_matter() -> None:
    requests = _drawn(3)
    shuffled = random.Random(0).sample(requests, len(requests))
    one, other = lay_out(requests), lay_out(shuffled)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.depths, other.depths)


def test_no_requests_are_an_empty_stream() -> None:
    stream: Stream = lay_out([])
    assert (len(stream.ids), stream.deepest, list(stream.passes(0, 0, 8))) == (0, 0, [])
