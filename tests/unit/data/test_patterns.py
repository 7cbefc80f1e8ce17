"""A source may be a pattern: the files it matches, in order, and what it may not mix."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brulee.data.corpus import open_corpus
from brulee.data.patterns import name_of
from brulee.data.sources import MisnamedError, open_source
from brulee.errors import InputError
from brulee.recipe import load_recipe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_at(path: Path, *values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{{"a": {value}}}\n' for value in values))


def refused(name: str) -> str:
    with pytest.raises(InputError) as caught:
        open_source(name)
    return str(caught.value)


def test_files_come_in_the_order_of_their_names_and_are_each_recorded(here: Path) -> None:
    rows_at(here / "d/b.jsonl", 3)
    rows_at(here / "d/a.jsonl", 1, 2)
    rows_at(here / "d/.hidden.jsonl", 9)
    rows_at(here / "d/c.json", 9)
    rows = open_source("d/*.jsonl")
    assert [row["a"] for row in rows] == [1, 2, 3]
    assert rows.place(2) == "d/b.jsonl, line 1"
    assert list(rows.digests) == ["d/a.jsonl", "d/b.jsonl"]
    assert rows.published == {}
    assert [row["a"] for row in open_source(f"{here}/d/[b-c].json?")] == [3]
    assert len(open_source("d/*.jsonl", limit=2)) == 2


def test_two_stars_match_folders_at_any_depth(here: Path) -> None:
    for number, folder in enumerate(("d", "d/x", "d/x/y")):
        (here / folder).mkdir()
        pq.write_table(pa.table({"n": [number]}), here / folder / "part.parquet")
    assert [row["n"] for row in open_source("d/**/*.parquet")] == [0, 1, 2]


def test_files_or_folders_that_are_all_named_after_splits_are_splits(here: Path) -> None:
    for name in ("train/1.jsonl", "train/2.jsonl", "test/1.jsonl", "dev.jsonl"):
        rows_at(here / "d" / name, 1)
    assert open_source("d/**/*.jsonl").published == {
        "train": [0, 1], "validation": [2], "test": [3],
    }  # fmt: skip
    rows_at(here / "d/more.jsonl", 1)
    assert refused("d/**/*.jsonl").startswith(
        "d/**/*.jsonl: matches d/dev.jsonl, which is named after a split, and d/more.jsonl, which "
        "is not;"
    )


def test_folders_inside_those_named_after_splits_are_theirs(here: Path) -> None:
    for name in ("train/a/1.jsonl", "train/b/1.jsonl", "test/a/1.jsonl"):
        rows_at(here / "test" / name, 1)
    assert open_source("test/*/*/*.jsonl").published == {"train": [0, 1], "test": [2]}
    assert open_source("test/train/**/*.jsonl").published == {}
    rows_at(here / "test/more/1.jsonl", 1)
    assert "test/test/a/1.jsonl, which is named after a split" in refused("test/**/*.jsonl")


def test_a_training_file_among_others_is_one_of_them(here: Path) -> None:
    rows_at(here / "d/train.jsonl", 1)
    rows_at(here / "d/more.jsonl", 2)
    rows = open_source("d/*")
    assert ([row["a"] for row in rows], rows.published) == ([2, 1], {})


def test_texts_are_documents_and_are_not_mixed_with_rows(here: Path) -> None:
    for name in ("one.md", "training.md"):
        (here / name).write_text(f"About {name}.")
    assert [row["file"] for row in open_source("*.md")] == ["one.md", "training.md"]
    rows_at(here / "r.jsonl", 1)
    assert refused("*") == (
        "*: matches texts (one.md) and files of rows (r.jsonl); name only one kind."
    )


def test_a_file_that_is_no_data_or_fits_no_column_is_named(here: Path) -> None:
    rows_at(here / "d/a.jsonl", "null")
    rows_at(here / "d/b.jsonl", 1)
    rows_at(here / "d/c.jsonl", '"x"')
    said = "d/c.jsonl: column 'a' holds string but d/b.jsonl holds int64 there."
    assert refused("d/*.jsonl") == said
    (here / "d/c.jsonl").rename(here / "d/c.log")
    assert refused("d/*").startswith("d/c.log: not a data file;")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("d/*.csv", "d holds a.jsonl, b.jsonl."),
        ("*.csv", "the folder holds d."),
        ("e/*.csv", "there is no folder e."),
        ("d/x/**/*.csv", "there is no folder d/x."),
        ("d*", "only a folder does (a pattern names files: d*/*)."),
        ("d/{a,b}*.jsonl", "d holds a.jsonl, b.jsonl; braces are not read in a pattern: list the "
         "sources under data."),
    ],
)  # fmt: skip
def test_a_pattern_without_a_match_says_what_there_is(here: Path, pattern: str, said: str) -> None:
    rows_at(here / "d/a.jsonl", 1)
    rows_at(here / "d/b.jsonl", 1)
    with pytest.raises(MisnamedError) as caught:
        open_source(pattern)
    assert str(caught.value) == f"{pattern}: no file matches; {said}"


def test_a_file_named_like_a_pattern_is_a_file(here: Path) -> None:
    rows_at(here / "a[1].jsonl", 1)
    rows_at(here / "a1.jsonl", 2)
    assert [row["a"] for row in open_source("a[1].jsonl")] == [1]


def test_a_pattern_may_be_relative_to_the_recipe_whose_folder_may_look_like_one(
    here: Path,
) -> None:
    folder = here / "of [x]"
    rows_at(folder / "d/a.jsonl", '"x", "b": "y"')
    rows_at(folder / "d/b.jsonl", '"z", "b": "w"')
    (folder / "r.yaml").write_text(
        'data: {source: "d/*.jsonl", split: {test: 0.5}, templates: {prompt: "{{a}}", '
        'completion: "{{b}}"}}\n'
    )
    (task,) = open_corpus(load_recipe(folder / "r.yaml")).tasks.items()
    assert task[0] == "d"
    assert sorted(task[1].rows.digests) == ["d/a.jsonl", "d/b.jsonl"]
    (here / "d").mkdir()
    assert len(open_corpus(load_recipe(folder / "r.yaml")).tasks["d"].rows) == 2


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/chats.jsonl", "chats"),
        ("owner/name", "name"),
        ("data/*.jsonl", "data"),
        ("data/chats-*.jsonl", "chats"),
        ("data/**/*.parquet", "data"),
        ("data/[a-c]*/part-?.jsonl", "part"),
        ("*.jsonl", "rows"),
        (".hidden", ".hidden"),
    ],
)
def test_a_source_has_a_short_name(source: str, name: str) -> None:
    assert name_of(source) == name
