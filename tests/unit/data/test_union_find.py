"""Sets that are joined in any order have one root."""

from __future__ import annotations

from itertools import pairwise

import pytest

from brulee.data.union_find import UnionFind


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain_is_one_set(backwards: bool) -> None:
    joined = UnionFind(22)
    for pair in sorted(pairwise(range(1, 21)), reverse=backwards):
        assert joined.join(*pair)
    assert not joined.join(20, 1)
    assert joined.roots().tolist() == [0, *[1] * 20, 21]


def test_sets_go_on_from_those_that_are_given() -> None:
    joined = UnionFind(6, [0, 1, 0, 1, 4, 5])
    assert not joined.join(0, 2)
    assert joined.join(3, 4)
    assert joined.roots().tolist() == [0, 1, 0, 1, 1, 5]
