"""Rows read many at a time are those read one by one."""

from __future__ import annotations

import pytest

from brulee.data.rows import Rows

ROWS = Rows.of(
    [{"text": f"é {i}", "said": [{"of": i}] * (i % 3), "n": i or None} for i in range(250)]
)


@pytest.mark.parametrize("chosen", [range(250), (249, 3, 3, 100, 99), [7], ()])
def test_some_rows_are_those_read_one_by_one(chosen: tuple[int, ...]) -> None:
    assert list(ROWS.some(chosen)) == [ROWS[i] for i in chosen]


def test_all_rows_come_in_order() -> None:
    assert [row["n"] for row in ROWS] == [None, *range(1, 250)]
