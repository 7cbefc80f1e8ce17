"""Records become the same table in parts as together, and the quick checks refuse what is wrong."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brulee.data import tables
from brulee.data.allowed import check_value, surely_allowed
from brulee.data.table_parts import to_table_by_parts
from brulee.data.tables import to_table
from brulee.errors import InputError

NUMBERS = st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.sampled_from([2**53 + 1])
LEAVES = (
    st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "é\0", "\ud800", "\\u0000"])
)
KEYS = st.sampled_from(["a", "b", "role", "tools", "tool_calls", "k\0", "\udc00"])
VALUES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=5)


def place(i: int) -> str:
    return f"line {i + 1}"


def outcome(records: list[dict[str, Any]]) -> tuple[Any, Any]:
    try:
        table = to_table(records, place)
    except InputError as error:
        return str(error), None
    return table.schema, table.to_pylist()


@settings(deadline=None, max_examples=150)
@given(RECORDS)
def test_the_quick_way_to_a_table_changes_nothing(records: list[dict[str, Any]]) -> None:
    found = outcome(records)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "_quickly", lambda _: None)
        assert found == outcome(records)


@settings(deadline=None, max_examples=150)
@given(RECORDS)
def test_parts_make_the_table_of_all_records_or_none(records: list[dict[str, Any]]) -> None:
    joined = to_table_by_parts([[record] for record in records], place)
    found = outcome(records)
    if joined is not None:
        assert (joined.schema, joined.to_pylist()) == found


def test_the_quick_way_is_taken_where_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "check_value", None)
    turns = [{"role": "user", "content": "é"}, {"role": "assistant", "tool_calls": [{"n": [1]}]}]
    table = to_table([{"messages": turns, "n": 1}, {"x": 1.5, "messages": None}], place)
    assert table.column_names == ["messages", "n", "x"]


@pytest.mark.parametrize("depth", [31, 32, 33])
@pytest.mark.parametrize("wrap", [lambda inside: [inside], lambda inside: {"k": inside}])
def test_the_quick_check_knows_the_same_depth(depth: int, wrap: Any) -> None:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    try:
        check_value({"a": value}, place)
        refused = False
    except InputError:
        refused = True
    assert surely_allowed([value]) is not refused
    assert refused is (depth > 32)


def test_the_search_for_cycles_goes_on_after_an_error() -> None:
    def parts() -> Iterator[list[dict[str, Any]]]:
        assert not gc.isenabled()
        yield [{"a": 1}]
        raise ValueError("the end")

    with pytest.raises(ValueError, match="the end"):
        to_table_by_parts(parts(), place)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "records",
    [
        [{"n": 1}, {"n": 2.5}, {"n": None}],
        [{"n": []}, {"n": [{"a": 1}]}, {"n": [{"b": "x"}, {"a": 1.5}]}, {}],
        [{"messages": [{"role": "user", "content": "a"}]},
         {"messages": [{"role": "user", "content": "a", "name": "b"}]}],
    ],
)  # fmt: skip
def test_a_type_that_shows_late_does_not_need_all_records_together(
    records: list[dict[str, Any]],
) -> None:
    joined = to_table_by_parts([[record] for record in records], place)
    assert joined is not None
    assert (joined.schema, joined.to_pylist()) == outcome(records)


def test_an_integer_that_is_no_float_is_left_to_the_table_of_all_records() -> None:
    assert to_table_by_parts([[{"n": 2**53 + 1}], [{"n": 1.5}]], place) is None
