"""Rows read many at a time are those read one by one, and all together."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brulee.data.containers import read_file
from brulee.data.rows import Rows
from brulee.data.sources import open_source
from brulee.errors import InputError

ROWS = Rows.of(
    [{"text": f"é {i}", "said": [{"of": i}] * (i % 3), "n": i or None} for i in range(250)]
)


@pytest.mark.parametrize(
    "chosen", [range(250), (249, 3, 3, 100, 99), [5, 4, 4, 6], [*range(0, 250, 3)], [7], ()]
)
def test_some_rows_are_those_read_one_by_one(chosen: Sequence[int]) -> None:
    assert list(ROWS.some(chosen)) == [ROWS[i] for i in chosen]
    parts = [{"said": ROWS[i]["said"], "text": ROWS[i]["text"]} for i in chosen]
    assert list(ROWS.some(chosen, ("said", "text"))) == parts


def test_all_rows_come_in_order() -> None:
    assert [row["n"] for row in ROWS] == [None, *range(1, 250)]


def test_rows_kept_keep_their_places_and_splits(tmp_path: Path) -> None:
    for split, count in {"train": 5, "test": 3}.items():
        lines = [json.dumps({"a": f"{split} {n}"}) for n in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    rows = open_source(str(tmp_path))
    chosen = [i for i in range(len(rows)) if rows[i]["a"] not in ("train 0", "train 3", "test 1")]
    kept = rows.kept(chosen)
    assert list(kept) == [rows[i] for i in chosen]
    assert [kept.place(i) for i in range(5)] == [rows.place(i) for i in chosen]
    assert [kept.origin(i) for i in range(5)] == [rows.origin(i) for i in chosen]
    assert [kept[i]["a"].split()[0] for i in kept.published["test"]] == ["test", "test"]
    assert [again.place(0) for again in (kept.kept([1]), rows.kept(chosen[1:2]))] == [
        rows.place(chosen[1])
    ] * 2
    only = rows.kept(rows.published["test"])
    assert set(only.published) == {"test"}
    assert ROWS.kept([3, 9]).place(1) == ROWS.place(9) == "rows, row 10"


# Two rows are a part, or one where it is long: types that show only later are those of all rows.
@pytest.mark.parametrize(
    "rows",
    [
        [{"a": "x", "b": 1}, {"a": "y", "b": 2}, {"a": None, "b": 3}, {"b": 4, "c": ["z"]}],
        [{"a": 1}, {"a": 2}, {"a": 2.5}, {"a": 3}],
        [{"a": {"b": 1}}, {"a": None}, {"a": {"c": "x"}}, {"a": {"b": 2, "c": "y"}}],
        [{"a": None}, {"a": None}, {"a": [[1]]}, {"b": True, "a": []}],
        [{"a": [{"b": 1}]}, {"a": [{"b": 1.5}, None]}, {"a": [{"c": [], "b": 2}]}, {"a": None}],
        [{"tools": [{"name": "f"}], "messages": None}, {"messages": []},
         {"tools": [], "messages": [{"role": "user", "content": "a"}]}, {"tools": None}],
    ],
)  # fmt: skip
def test_json_lines_are_read_in_parts_as_they_are_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    whole = read_file(file, "a")
    monkeypatch.setattr("brulee.data.containers._PART", 1 + max(len(json.dumps(r)) for r in rows))
    parts = read_file(file, "a")
    assert parts.table.schema == whole.table.schema
    assert parts.table.to_pylist() == whole.table.to_pylist()
    assert list(parts.lines or ()) == list(whole.lines or ()) == [1, 3, 5, 7]


def test_a_row_that_fits_no_column_is_named_in_whatever_part_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n{"a": 3}\n{"a": "x"}\n', encoding="utf-8")
    monkeypatch.setattr("brulee.data.containers._PART", 1)
    with pytest.raises(InputError, match="line 4: column 'a' holds 'x' but the rows before it"):
        read_file(file, "a")


def test_many_json_lines_are_not_held_as_objects_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"a": f"{number:0200}", "b": [number]} for number in range(4_000)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    read_file(file, "a")  # imports and caches
    monkeypatch.setattr("brulee.data.containers._PART", 50_000)
    tracemalloc.start()
    try:
        read_file(file, "a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * file.stat().st_size  # the bytes of the file, and little more
