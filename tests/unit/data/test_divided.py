"""A source for each split: whatever opens alone opens as one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.sources import open_source
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows in files of several kinds, whose names say nothing; a folder with splits."""
    monkeypatch.chdir(tmp_path)
    _lines(Path("mine.jsonl"), range(3))
    _lines(Path("more, of mine.jsonl"), [3])
    Path("other.csv").write_text("q,a\nq4,a4\nq5,a5\n")
    Path("both").mkdir()
    _lines(Path("both/train.jsonl"), [6, 7])
    _lines(Path("both/test.jsonl"), [8])


def _lines(file: Path, numbers: Any) -> None:
    file.write_text("".join(json.dumps({"q": f"q{n}", "a": f"a{n}"}) + "\n" for n in numbers))


def _splits(name: str, limit: int | None = None) -> dict[str, list[str]]:
    rows = open_source(name, limit=limit)
    return {split: [rows[i]["q"] for i in found] for split, found in rows.published.items()}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train=mine.jsonl,test=other.csv", {"train": [0, 1, 2], "test": [4, 5]}),
        ("test=other.csv,train=mine.jsonl", {"train": [0, 1, 2], "test": [4, 5]}),
        ("train=mine.jsonl,train=more, of mine.jsonl", {"train": [0, 1, 2, 3]}),
        ("train=m*.jsonl,dev=other.csv", {"train": [0, 1, 2, 3], "validation": [4, 5]}),
        ("train=both,test=mine.jsonl", {"train": [6, 7], "test": [0, 1, 2]}),
        ("train=mine.jsonl,test=both", {"train": [0, 1, 2], "test": [8]}),
    ],
)
def test_each_split_has_the_rows_of_its_source(name: str, found: dict[str, list[int]]) -> None:
    assert _splits(name) == {split: [f"q{n}" for n in own] for split, own in found.items()}


def test_places_and_digests_are_of_the_files() -> None:
    rows = open_source("train=mine.jsonl,test=other.csv")
    assert [rows.place(i) for i in (2, 3)] == ["mine.jsonl, line 3", "other.csv, line 2"]
    assert {*rows.digests} == {"mine.jsonl", "other.csv"}


def test_a_limit_is_of_each_split() -> None:
    assert _splits("train=mine.jsonl,test=other.csv", 1) == {"train": ["q0"], "test": ["q4"]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train=mine.jsonl,test=othr.csv", "othr.csv: no such file or folder. Did you mean other"),
        ("train=mine.jsonl,test=", "test has no source of its own"),
        ("train=test=mine.jsonl", "train has no source of its own"),
        ("train=mine.jsonl,validation=both", "both: no split 'validation'; it has train, test"),
    ],
)
def test_what_cannot_be_opened_is_named(name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(name)
    assert said in str(caught.value)


def test_a_file_with_such_a_name_is_a_file() -> None:
    _lines(Path("train=mine.jsonl"), [9])
    assert open_source("train=mine.jsonl")[0]["q"] == "q9"


def _opened(source: Any) -> Any:
    own = {"prompt": "{{q}}", "completion": "{{a}}"}
    data = {"source": source, "templates": own, "split": {"test": 0.0}}
    return recipe_from_dict({"data": data})


@pytest.mark.parametrize(
    "source",
    [
        {"train": ["mine.jsonl", "more, of mine.jsonl"], "test": "other.csv"},
        {"train": [Path("mine.jsonl"), Path("more, of mine.jsonl")], "test": Path("other.csv")},
        "train=mine.jsonl,train=more, of mine.jsonl,test=other.csv",
    ],
)
def test_a_recipe_may_have_a_mapping(source: Any) -> None:
    ((path, task),) = open_corpus(_opened(source)).tasks.items()
    assert path == "mine"
    assert [len(own) for own in (task.train, task.validation, task.test)] == [4, 0, 2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"eval": "other.csv"}, "a mapping of sources has the keys train, validation, test"),
        ({"train": "mine.jsonl", "test": ""}, "every split has the name of a source"),
        ({"train": ["mine.jsonl", 3]}, "every split has the name of a source"),
    ],
)
def test_a_mapping_that_is_none_is_told(source: Any, said: str, tmp_path: Path) -> None:
    from brulee.recipe import load_recipe

    file = tmp_path / "recipe.yaml"
    file.write_text(f"model: bundled\ndata: {{source: {json.dumps(source)}}}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert "recipe.yaml, line 2: data.source" in str(caught.value)
    assert said in str(caught.value)
