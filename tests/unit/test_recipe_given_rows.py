"""Rows given from Python become one file, whatever they came as; what is no row is named."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import brulee
from brulee.data.sources import open_source
from brulee.recipe import Recipe, recipe_from_dict
from brulee.recipe.given_rows import digest_of

ROWS = [
    {"q": f"What is {i}?", "a": f"It is {i}.", "n": i, "x": None if i == 1 else i / 4}
    for i in range(6)
]


def _recipe(source: Any, **task: Any) -> Recipe:
    return recipe_from_dict({"data": {"source": source, **task}})


def _rows(recipe: Recipe) -> list[dict[str, Any]]:
    (_, spec), = recipe.tasks  # fmt: skip
    return list(open_source(spec.source, recipe.source.resolve))


class _Polars:
    """What a polars table has to be read by; a stand-in, as polars is no dependency."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.columns = rows, list(rows[0])

    def iter_rows(self, named: bool) -> Any:
        assert named
        return iter(self.rows)


_Polars.__module__, _Polars.__name__ = "polars.dataframe.frame", "DataFrame"

FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "tuple": tuple,
    "generator": lambda rows: (row for row in rows),
    "pandas": pd.DataFrame,
    "a pandas index is left out": lambda rows: pd.DataFrame(rows).set_index(np.arange(6) * 2),
    "arrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
    "datasets as tensors": lambda rows: datasets.Dataset.from_list(rows).with_format("numpy"),
    "polars": _Polars,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_are_the_same_source_whatever_they_came_as(form: str) -> None:
    plain, other = _recipe(ROWS), _recipe(FORMS[form](ROWS))
    assert other.tasks[0][1].source == plain.tasks[0][1].source
    assert _rows(other) == ROWS


def test_other_rows_and_another_order_are_another_source() -> None:
    sources = {_recipe(rows).tasks[0][1].source for rows in (ROWS, ROWS[:-1], ROWS[::-1])}
    assert len(sources) == 3


def test_values_that_no_file_has_become_texts_as_a_template_writes_them() -> None:
    day = datetime.datetime(2024, 1, 2, 3, 4)
    given = {
        "day": day,
        "date": day.date(),
        "stamp": pd.Timestamp(day),
        "moment": np.datetime64("2024-01-02"),
        "decimal": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=1),
        "path": Path("a/b"),
        "number": np.float32(0.5),
        "flag": np.bool_(True),
        "text": np.str_("t"),
        "array": np.array([[1, 2]]),
        "days": np.array(["2024-01-02", "NaT"], dtype="datetime64[D]"),
        "tuple": (1, 2),
        "nan": float("nan"),
        "na": pd.NA,
        "nat": pd.NaT,
        "not a time": np.datetime64("NaT", "s"),
        "inside": {"deep": [np.int64(3), None]},
    }
    (row,) = _rows(_recipe([given]))
    assert row == {
        "day": str(day),
        "date": "2024-01-02",
        "stamp": str(day),
        "moment": "2024-01-02",
        "decimal": "1.10",
        "id": str(uuid.UUID(int=1)),
        "path": "a/b",
        "number": 0.5,
        "flag": True,
        "text": "t",
        "array": [[1, 2]],
        "days": ["2024-01-02", "NaT"],
        "tuple": [1, 2],
        "nan": None,
        "na": None,
        "nat": None,
        "not a time": None,
        "inside": {"deep": [3, None]},
    }


class _Colour(StrEnum):
    RED = "red"


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


BAD = {
    "no rows": ([], r"^rows: no rows\.$"),
    "an iterator that was read": (iter([]), "rows: no rows. An iterator gives its rows once"),
    "no mapping": ([ROWS[0], "text"], r"rows, row 2: 'text', of type str; a row is a mapping"),
    "bytes": ([ROWS[0], {"q": b"x"}], r"rows, row 2: column 'q' holds a value of type bytes;"),
    "a set": ([{"q": {1}}], "rows, row 1: column 'q' holds a value of type set;"),
    "an enumeration": ([{"q": _Colour.RED}], "column 'q' holds a value of type _Colour;"),
    "infinite": ([{"q": 1e999}], "row 1: column 'q' holds an infinite number"),
    "large": ([{"q": 10**5000}], "row 1: column 'q' holds a number too large to be read"),
    "endless": ([{"q": _endless()}], "row 1: column 'q': nested more than 64 levels deep"),
    "a key": ([{3: "x"}], "row 1: the name of a column is 3, of type int; it must be a text"),
    "a key inside": ([{"q": {3: "x"}}], "row 1: column 'q': the name of a column is 3"),
    "numbered columns": (pd.DataFrame([[1]]), "rows: the name of a column is 0, of type int"),
    "twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "rows: two columns are called 'a'"),
    "a split": ({"train": ROWS, "tset": ROWS}, "unknown split 'tset'; did you mean 'test'"),
    "no split": ({}, "rows: no rows: the mapping is empty"),
    "a split of nothing": ({"train": ROWS, "test": []}, r"rows/test\.json: no rows"),
    "a split of text": (
        {"train": ROWS, "test": "rows.jsonl"},
        r"rows/test\.json: an object of type str; rows",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_row_is_refused_by_its_number(case: str) -> None:
    given, said = BAD[case]
    with pytest.raises(brulee.InputError, match=said):
        _recipe(given)


def test_what_a_file_is_refused_for_is_said_of_the_row() -> None:
    mixed = _recipe([*ROWS[:2], {"q": 3}], name="faq")
    with pytest.raises(brulee.InputError, match=r"^faq, row 3: column 'q' holds 3 but"):
        _rows(mixed)
    with pytest.raises(
        brulee.InputError, match=r"^rows, row 1: the text contains a lone surrogate"
    ):
        _rows(_recipe([{"q": "\ud800"}]))


def test_rows_where_a_section_stands_are_told_where_they_go() -> None:
    with pytest.raises(brulee.InputError, match=r"type DataFrame; rows stand under data\.source"):
        recipe_from_dict({"data": pd.DataFrame(ROWS)})
    with pytest.raises(brulee.InputError, match=r"one of them has no source; rows stand under"):
        recipe_from_dict({"data": ROWS})


def test_splits_stay_splits() -> None:
    recipe = _recipe({"train": ROWS[:4], "test": iter(ROWS[4:])})
    (_, spec), = recipe.tasks  # fmt: skip
    rows = open_source(spec.source, recipe.source.resolve)
    assert rows.published == {"train": [0, 1, 2, 3], "test": [4, 5]}
    assert rows.place(4) == "rows/test.json, row 1"


def test_tasks_of_a_mixture_are_called_by_their_names_or_numbered() -> None:
    def sources(*tasks: dict[str, Any]) -> list[str]:
        recipe = recipe_from_dict({"data": list(tasks)})
        return [spec.source.rpartition(".")[0] for _, spec in recipe.tasks]

    a, b = {"source": ROWS[:3]}, {"source": ROWS[3:]}
    assert sources(a, b) == ["memory/rows", "memory/rows-2"]
    assert sources({**a, "name": "one"}, {**b, "name": "no/name"}) == ["memory/one", "memory/rows"]
    splits = {"source": {"train": ROWS[:3], "test": ROWS[3:]}}
    assert sources(splits, splits) == ["memory/rows", "memory/rows"]


def test_what_was_written_goes_with_the_recipe() -> None:
    recipe = _recipe(ROWS)
    file = recipe.source.resolve(recipe.tasks[0][1].source)
    assert len(json.loads(file.read_text())) == len(file.read_text().splitlines()) - 2 == 6
    assert recipe.tasks[0][1].source.endswith(f".{digest_of(file)}")
    del recipe
    assert not file.parent.exists()


def test_rows_that_are_gone_or_are_others_are_told(tmp_path: Path) -> None:
    recipe = _recipe(ROWS)
    source = recipe.tasks[0][1].source
    file = recipe.source.resolve(source)
    file.write_text("[{}]")
    with pytest.raises(brulee.InputError, match="not the rows that were given from Python"):
        _rows(recipe)
    with pytest.raises(brulee.InputError, match=rf"^{source}: these rows were given from Python"):
        _rows(recipe_from_dict(recipe.to_dict()))


def test_rows_in_a_recipe_file_are_no_source(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("data: {source: [{q: a}]}")
    with pytest.raises(brulee.InputError, match=r"data\.source = .* is not valid"):
        brulee.load_recipe(file)
