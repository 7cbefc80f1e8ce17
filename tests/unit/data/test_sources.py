"""Reading rows: what is right is read as it stands, what is wrong is named by file and line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from brulee import progress
from brulee.data import containers, conversations, delimited, files, json_items
from brulee.data.raw import Raw
from brulee.data.sources import Rows, open_source
from brulee.errors import InputError


def write(path: Path, text: str | bytes) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refused(name: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_source(name, **options)
    return str(caught.value)


@pytest.mark.parametrize("file", ["a.jsonl", "a.ndjson", "a.jsonlines"])
def test_jsonl_keeps_types_skips_blank_lines_and_counts_lines(tmp_path: Path, file: str) -> None:
    name = write(tmp_path / file, '\ufeff{"a": 1, "b": ["x"]}\r\n\n{"a": 2, "c": "\u2028"}\n')
    rows = open_source(name)
    assert list(rows) == [{"a": 1, "b": ["x"], "c": None}, {"a": 2, "b": None, "c": "\u2028"}]
    assert rows.place(1) == f"{name}, line 3"
    assert rows.published == {}
    assert list(rows.digests) == [name]
    assert len(rows.digests[name]) == 64


@pytest.mark.parametrize(
    "suffix",
    [
        *(".json", ".wrapped.json", ".lines.json", ".csv", ".tsv"),
        *(".jsonl.gz", ".csv.zst", ".json.xz", ".jsonl.bz2"),
    ],
)
def test_every_text_container_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    records = [{"text": 'a, "b"\nc', "stars": 5}, {"text": "d", "stars": 1}]
    lines = "".join(json.dumps(r) + "\n" for r in records)
    contents: dict[str, str | bytes] = {
        ".json": json.dumps(records, indent=1),
        ".wrapped.json": json.dumps({"version": 1, "data": records}),
        ".lines.json": lines,
        ".csv": 'text,stars\r\n"a, ""b""\nc",5\r\nd,1\r\n',
        ".tsv": 'text\tstars\n"a, ""b""\nc"\t5\nd\t1\n',
        ".jsonl.gz": gzip.compress(lines.encode()),
        ".json.xz": lzma.compress(json.dumps(records).encode()),
        ".jsonl.bz2": bz2.compress(lines.encode()),
        ".csv.zst": pa.compress(b'text,stars\n"a, ""b""\nc",5\nd,1\n', "zstd", asbytes=True),
    }
    assert list(open_source(write(tmp_path / f"a{suffix}", contents[suffix]))) == records


def test_csv_line_numbers_count_line_breaks_inside_fields(tmp_path: Path) -> None:
    rows = open_source(write(tmp_path / "a.csv", 'text,n\n"one\ntwo",1\nthree,2\n'))
    assert rows.place(1).endswith("a.csv, line 4")


def test_csv_numbers_are_read_only_where_they_print_back_as_written(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", "n,zip,price,x,gap\n1,007,4.5,1.50,3\n-2,010,2.0,2,\n")
    assert list(open_source(name)) == [
        {"n": 1, "zip": "007", "price": 4.5, "x": "1.50", "gap": 3},
        {"n": -2, "zip": "010", "price": 2.0, "x": "2", "gap": None},
    ]


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    rows = open_source(str(tmp_path / "a.parquet"))
    assert (rows[1], rows.place(1)) == ({"a": 2}, f"{tmp_path}/a.parquet, row 2")


EMPTY_FILES = ["b.jsonl", "c.csv", "d.parquet"]


@pytest.fixture
def empty_beside_full(tmp_path: Path) -> Path:
    """A folder of files without rows, and two that have some."""
    write(tmp_path / "b.jsonl", "\n")
    write(tmp_path / "c.csv", "a\n")
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "d.parquet")
    write(tmp_path / "a.jsonl", '{"a": 1}\n')
    write(tmp_path / "e.jsonl", '\n{"a": 2}\n')
    return tmp_path


def test_files_without_rows_beside_others_are_skipped_and_named(
    empty_beside_full: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    at = empty_beside_full
    rows = open_source(f"{at}/*")
    assert [rows[i]["a"] for i in range(len(rows))] == [1, 2]
    assert rows.place(1) == f"{at}/e.jsonl, line 2"
    assert len(rows.digests) == 5, "rows that are written to an empty file later are a change"
    named = ", ".join(f"{at}/{name}" for name in EMPTY_FILES)
    assert capsys.readouterr().err == f"{named}: no rows in these files; skipped.\n"


def test_an_empty_shard_of_a_split_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.jsonl", "")
    write(tmp_path / "train-00001-of-00002.jsonl", '{"a": 1}\n')
    assert open_source(str(tmp_path)).published == {"train": [0]}


def test_a_split_whose_only_file_is_empty_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", '{"a": 1}\n')
    test = write(tmp_path / "test.jsonl", "")
    assert refused(str(tmp_path)) == f"{test}: the file is empty."


def test_several_files_are_an_error_if_none_has_rows(empty_beside_full: Path) -> None:
    for name in ("a.jsonl", "e.jsonl"):
        (empty_beside_full / name).unlink()
    assert refused(f"{empty_beside_full}/*") == f"{empty_beside_full}/b.jsonl: the file is empty."


@pytest.mark.parametrize("form", [pa.ipc.new_file, pa.ipc.new_stream])
def test_both_forms_of_arrow_files_are_read(tmp_path: Path, form: Any) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with form(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    rows = open_source(str(tmp_path / "a.arrow"), limit=2)
    assert (len(rows), rows[1]) == (2, {"a": 2})


def test_a_natural_instructions_file_is_one_row(tmp_path: Path) -> None:
    instances = [{"input": "i", "output": ["o"]}]
    task = {"Definition": ["D"], "Positive Examples": instances, "Instances": instances}
    name = write(tmp_path / "task.json", json.dumps(task))
    assert open_source(name)[0]["Instances"] == instances


def test_folder_publishes_its_splits_and_limit_applies_to_each(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", '{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    write(tmp_path / "dev.csv", "a\n4\n5\n")
    write(tmp_path / "test-00000-of-00002.json", '[{"a": 6}]')
    write(tmp_path / "test-00001-of-00002.json", '[{"a": 7}]')
    rows = open_source(str(tmp_path))
    assert rows.published == {"train": [0, 1, 2], "validation": [3, 4], "test": [5, 6]}
    assert rows.place(4) == f"{tmp_path}/dev.csv, line 3"
    limited = open_source(str(tmp_path), limit=1)
    assert [row["a"] for row in limited] == [1, 4, 6]
    assert limited.published == {"train": [0], "validation": [1], "test": [2]}


def test_a_file_beside_splits_that_is_not_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train.jsonl", "test.jsonl", "extra.jsonl", "notes.txt"):
        write(tmp_path / name, '{"a": 1}\n')
    with progress.shown(True):
        assert len(open_source(str(tmp_path))) == 2
    assert "not read, as no split is named so: extra.jsonl.\n" in capsys.readouterr().err


def test_folder_with_one_data_file_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "chats.jsonl", '{"a": 1}')
    write(tmp_path / "README.md", "text")
    assert open_source(str(tmp_path)).published == {}


@pytest.mark.parametrize(
    "files",
    [
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"),  # as the Hub has it
        ("train/part-0.jsonl", "test/part-0.jsonl"),
        ("en/data/train.jsonl", "en/data/test.jsonl"),
    ],
)
def test_rows_in_a_subfolder_are_read_and_not_the_readme_above_them(
    tmp_path: Path, files: tuple[str, str]
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Chats\n")
    (tmp_path / "dataset_infos.json").write_text('{"default": {"splits": {"train": {}}}}')
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache" / "huggingface.json", '{"a": 0}')
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / file, f'{{"a": {number}}}\n')
    rows = open_source(str(tmp_path))
    assert [row["a"] for row in rows] == [0, 1]
    assert rows.published == {"train": [0], "test": [1]}
    assert rows.place(1) == f"{tmp_path}/{files[1]}, line 1"


def test_all_files_of_a_folder_named_after_a_split_are_its_rows(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for number in range(3):
        write(tmp_path / "train" / f"part-{number}-ab.jsonl", f'{{"a": {number}}}\n')
    assert open_source(str(tmp_path)).published == {"train": [0, 1, 2]}
    write(tmp_path / "train" / "other.csv", "a\n3\n")
    assert "two files for train: other.csv, part-0-ab.jsonl" in refused(str(tmp_path))


def test_folders_of_rows_beside_each_other_are_named(tmp_path: Path) -> None:
    for name in ("de", "en"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.jsonl", '{"a": 1}\n')
    (tmp_path / "README.md").write_text("# Two languages\n")
    assert f"name one: {tmp_path}/de, {tmp_path}/en." in refused(str(tmp_path))


def test_limit_reads_no_further(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", '{"a": 1}\nbroken\n')
    assert len(open_source(name, limit=1)) == 1


def test_columns_are_renamed_and_a_clash_is_replaced(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", '{"text": "t", "body": "b", "id": 1}')
    rows = open_source(name, columns={"text": "body"})
    assert rows[0] == {"text": "b", "id": 1}
    assert open_source(name, columns={"x": "id", "y": "id"})[0]["y"] == 1
    message = refused(name, columns={"text": "boddy"})
    assert "'body'" in message
    assert "Valid: body, id, text" in message


def test_a_dashed_column_is_found_by_its_template_spelling() -> None:
    rows = Rows.of([{"a-b": 1, "c": 2}])
    assert rows.column("a_b") == rows.column("a-b") == [1]
    with pytest.raises(InputError, match="unknown column 'z'"):
        rows.column("z")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("told", ["", "sep=;\n"])
def test_a_table_as_excel_saves_it_where_the_comma_is_a_decimal_sign(
    tmp_path: Path, told: str, newline: str
) -> None:
    text = f'{told}id;question;price\n007;"a, b;\n""c""";1,5\n008;;2,25\n'
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", newline).encode())
    rows = open_source(str(file))
    assert rows.columns == ["id", "question", "price"]
    question = f'a, b;{newline}"c"'
    assert [rows[i] for i in range(2)] == [
        {"id": "007", "question": question, "price": "1,5"},
        {"id": "008", "question": "", "price": "2,25"},
    ]
    assert rows.place(1).endswith(f"line {5 if told else 4}")


def test_a_comma_table_may_begin_with_what_another_would_part(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    for header, columns in (
        ('"a;b",c', ["a;b", "c"]),
        ("a;b,c", ["a;b", "c"]),
        ("sep=,\na,b", ["a", "b"]),
        ("a\tb", ["a", "b"]),
    ):
        file.write_text(f"{header}\n" + ("1\t2\n" if "\t" in header else "1,2\n"))
        assert open_source(str(file)).columns == columns


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.jsonl", "", "the file is empty"),
        ("a.jsonl", " \n\n", "the file is empty"),
        ("a.csv", "a,b\n", "the file holds no rows"),
        ("a.json", "[]", "the file holds no rows"),
        ("a.jsonl", "{}\n", "the file holds no rows"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2: a row is a JSON object, but this is an array"),
        ("a.jsonl", '{"a": NaN}\n', "line 1: not valid JSON: NaN"),
        ("a.json", '[{"a": "NaN \\" NaN"},\n{"a": [NaN]}]', "line 2: not valid JSON: NaN"),
        ("a.jsonl", '{"a": 1}\n{"a": 1e999}\n', "line 2: column 'a' holds a number too large"),
        ("a.jsonl", '{"a": 1}\n{"a": 2, "a": 3}\n', "line 2: the key 'a' is given twice"),
        ("a.json", '[{"a": {"b": 2, "c": 1, "b": 3}}]', "the key 'b' is given twice"),
        ("a.jsonl", "[" * 100_000 + "\n", "line 1: not usable JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', "line 2: byte 0xe9 is not UTF-8"),
        ("a.csv", b"a,b\n1,2\n3,\xff\n", "line 3: byte 0xff is not UTF-8"),
        ("a.jsonl", '{"a": 1}\n{"a": "x"}\n', "line 2: column 'a' holds 'x' but"),
        ("a.jsonl", '{"a": {"b": [1]}}\n{}\n{"a": {"b": "x"}}\n', "line 3: column 'a'"),
        ("a.jsonl", f'{{"a": {2**70}}}\n', "line 1: column 'a' holds"),
        ("a.jsonl", '{"a": ["x\\ud800"]}\n', "line 1: the text contains a lone surrogate"),
        ("a.jsonl", '{"a": "x"}\n{"a": "\\u0000"}\n', "line 2: the text holds a NUL"),
        ("a.csv", "a\nx\x00y\n", "line 2: the text holds a NUL"),
        ("a.csv", "a\x00b,c\n1,2\n", "line 1: the header holds a NUL character; remove it, or"),
        ("a.tsv", "a\x00b\tc\n1\t2\n", "line 1: the header holds a NUL character"),
        ("a.json", '{"a": 1}\n{"a": 2\n', "a.json, line 2: not valid JSON"),
        ("a.json", '[{"a": 1}]\n[{"a": 2}]\n', "line 2: not valid JSON: extra data"),
        ("a.json", '{"a": [{"b": 1}], "c": [{"b": 1}]}', "found a, c"),
        ("a.json", '[{"a": 1}, 2]', "row 2: a row is a JSON object, but this is a number"),
        ("a.jsonl", '{"a": ' + "[" * 40 + "]" * 40 + "}", "line 1: nested more than 32 levels"),
        ("a.json", '[{"a": ' + '{"b": ' * 400 + "1" + "}" * 400 + "}]", "row 1: nested more than"),
        ("a.jsonl", json.dumps({f"k{i}": 1 for i in range(1001)}), "line 1: 1,001 keys, and a row"),
        ("a.json", '"text"', "an array of objects, but this is a string"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3: 1 field, but the header names 2 columns"),
        ("a.csv", 'a,b\n"x\ny",2\n1,2,3\n', "line 4: 3 fields"),
        ("a.csv", 'a,b\n1,"2\n', "not a valid table"),
        ("a.csv", "1,2\n3,4\n", "line 1: the first line has to name the columns"),
        ("a.csv", "a,,b\n3,4,5\n", "line 1: the first line has to name the columns"),
        ("a.csv", "a,b,,\n3,4,,\n5,6,,x\n", "line 1: the first line has to name the columns"),
        ("a.csv", ",,\n,,\n", "the file holds no rows"),
        ("a.csv", ",a\nx,1\ny,2\n", "line 1: the first line has to name the columns"),
        ("a.csv", ",a\n1,x\n1,y\n", "line 1: the first line has to name the columns"),
        ("a.csv", ",index\n1,x\n2,y\n", "line 1: the first line has to name the columns"),
        ("a.csv", "a,a\n3,4\n", "names the column 'a' twice"),
        ("a.csv", ",".join(f"c{i}" for i in range(1001)) + "\n", "line 1: 1,001 columns, and"),
        ("a.csv", "a|b\n3|4\n", "the separator has to be a comma, a semicolon or a tab"),
        ("a.csv", "a;b\n3;4\n5\n", "line 3: 1 field, but the header names 2 columns"),
        ("a.csv", "sep=;\na;b\n3;4\n5\n", "line 4: 1 field, but the header names 2 columns"),
        ("a.tsv", "a;b\n3;4\n", "the separator has to be a tab"),
        ("a.jsonl.gz", "plain", "not a whole gzip file"),
        ("a.parquet", "plain", "not a whole parquet file"),
        ("a.arrow", "plain", "not a whole Arrow file"),
        ("a.arrow", "ARROW1", "not a whole Arrow file"),
        ("a.jsonl.zst", "plain", "not a whole zstd file"),
        ("a.arrow.zst", "plain", "not a data file"),
        ("a.xlsx", "plain", "not a data file; valid: .jsonl, .json"),
        ("a.ODS", "plain", "(the text ones also .gz, .zst, .xz, .bz2). Save its sheet as .csv."),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    name = write(tmp_path / file, content)
    found = refused(name)
    assert found.startswith(name)
    assert message in found


def test_a_gzip_file_cut_short_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"a": 1}\n' * 100)
    assert "gzip" in refused(write(tmp_path / "a.jsonl.gz", packed[:-12]))


def test_a_column_of_two_types_across_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", '{"a": 1}')
    write(tmp_path / "test.jsonl", '{"a": "x"}')
    assert "test.jsonl: column 'a' holds string but" in refused(str(tmp_path))


def test_rows_of_splits_that_are_further_inside_are_refused_with_a_way_to_read_them(
    tmp_path: Path,
) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    for folder in (train / "a", test / "a"):
        folder.mkdir(parents=True)
        write(folder / "rows.jsonl", '{"a": 1}')
    assert refused(str(tmp_path)).endswith(f"data.source: {{test: {test}, train: {train}}}.")
    assert len(open_source(str(train))) == len(open_source(str(test))) == 1
    # The training rows are not left out because the test is found.
    write(tmp_path / "test.jsonl", '{"a": 1}')
    assert refused(str(tmp_path)).startswith(f"{train}: its rows are in a folder inside it;")


def test_folders_that_leave_a_choice_are_refused(tmp_path: Path) -> None:
    assert "no data file" in refused(str(tmp_path))
    write(tmp_path / "a.jsonl", '{"a": 1}')
    write(tmp_path / "b.jsonl", '{"a": 1}')
    said = refused(str(tmp_path))
    assert "it holds a.jsonl, b.jsonl" in said
    assert said.endswith(f"To read them as one: {tmp_path}/*.jsonl.")
    write(tmp_path / "c.json", '[{"a": 1}]')
    assert refused(str(tmp_path)).endswith(f"To read them as one: {tmp_path}/*.")
    assert len(open_source(f"{tmp_path}/*")) == 3
    write(tmp_path / "my_test.jsonl", '{"a": 1}')
    assert "as one" not in refused(str(tmp_path))
    write(tmp_path / "dev.jsonl", '{"a": 1}')
    write(tmp_path / "validation.jsonl", '{"a": 1}')
    assert "two files for validation" in refused(str(tmp_path))


def test_a_missing_file_is_a_missing_file_and_not_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "chats.jsonl", '{"a": 1}')
    monkeypatch.chdir(tmp_path)
    assert "no such file or folder. Did you mean chats.jsonl?" in refused("chat.jsonl")
    assert "no such file or folder. Did you mean chats.jsonl?" in refused("chats")
    assert "no such file" in refused("./elsewhere")
    assert "no such file" in refused("data/set.jsonl")


def test_bundled_names_are_suggested() -> None:
    assert "did you mean 'support-chats'?" in refused("bundled/suport-chats")
    assert "did you mean bundled/support-chats?" in refused("support-chats")


def test_the_hub_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("brulee.data.hub._reachable", lambda _: False)
    assert "the Hub cannot be reached" in refused("somebody/something")

    def missing(*args: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'x' doesn't exist.")

    monkeypatch.setattr("brulee.data.hub._reachable", lambda _: True)
    monkeypatch.setattr(datasets, "load_dataset", missing)
    assert "doesn't exist" in refused("somebody/something")


def test_the_name_of_a_format_does_not_read_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "train.txt", "a text\n")
    monkeypatch.chdir(tmp_path)
    assert refused("text").startswith("text: the name of a format; name the file or folder")


def test_a_hub_data_set_publishes_its_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[object, ...]] = []

    def load(*args: object) -> object:
        asked.append(args)
        part = datasets.Dataset.from_dict({"a": [1, 2, 3]})
        parts = {"test": part.select([2]), "Train": part.select([0, 1]), "x": part}
        parts |= {"dev": part.select([1]), "validation": part.select([2])}
        return datasets.DatasetDict(dict.fromkeys(["x"], part) if args[1] is None else parts)

    monkeypatch.setattr("brulee.data.hub._reachable", lambda _: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = open_source("somebody/something:small")
    assert asked == [("somebody/something", "small")]
    assert [row["a"] for row in rows] == [1, 2, 2, 3, 3]
    assert rows.published == {"train": [0, 1], "validation": [2, 3], "test": [4]}
    assert rows.place(2) == "somebody/something:small (dev), row 1"
    assert "no split is named train, validation or test, but x;" in refused("somebody/something")


def test_an_entry_of_a_dataset_info_opens_with_its_columns_and_limit(tmp_path: Path) -> None:
    write(tmp_path / "d/a.jsonl", '{"ask": "q", "output": "o"}\n{"ask": "r", "output": "p"}\n')
    entries = {"mine": {"file_name": "a.jsonl", "columns": {"prompt": "ask"}, "num_samples": 1}}
    info = write(tmp_path / "d/dataset_info.json", json.dumps(entries))
    rows = open_source(f"{info}:mine", columns={"answer": "output"})
    assert list(rows) == [{"answer": "o", "instruction": "q"}]
    assert rows.place(0) == f"{tmp_path}/d/a.jsonl, line 1"
    assert len(open_source(f"{info}:mine", limit=5)) == 1
    assert "did you mean 'mine'?" in refused(f"{info}:mime")
    assert refused(info).endswith(f"name one of its entries, as in {info}:mine. Valid: mine.")
    assert "no such file" in refused(f"{tmp_path}/dataset_info.json:mine")


def test_an_entry_reads_the_split_that_it_names_and_none_is_published(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"d/{split}.jsonl", f'{{"instruction": "{split}", "output": "o"}}\n')
    entries = {
        name: {"file_name": "d", **split}
        for name, split in {"all": {}, "test": {"split": "test"}, "dev": {"split": "dev"}}.items()
    }
    info = write(tmp_path / "dataset_info.json", json.dumps(entries | {"x": {"file_name": "e"}}))
    assert open_source(f"{info}:all").published == {"train": [0], "test": [1]}
    alone = open_source(f"{info}:test")
    assert ([row["instruction"] for row in alone], alone.published) == (["test"], {})
    assert "no split 'dev'; it has train, test" in refused(f"{info}:dev")
    assert "no such file or folder" in refused(f"{info}:x")


def test_parallel_files_give_a_row_per_line_with_a_column_per_file(tmp_path: Path) -> None:
    write(tmp_path / "t.fra", "Bonjour\r\nOui\u2028!\r\n")
    write(tmp_path / "t.eng", "Hello\n\n")
    name = f"{tmp_path}/t.{{fra,eng}}"
    rows = open_source(name, columns={"source": "fra"})
    assert list(rows) == [
        {"source": "Bonjour", "eng": "Hello"},
        {"source": "Oui\u2028!", "eng": ""},
    ]
    assert rows.place(1) == f"{name}, line 2"
    assert sorted(rows.digests) == [f"{tmp_path}/t.eng", f"{tmp_path}/t.fra"]
    assert len(open_source(name, limit=1)) == 1


def test_a_field_of_a_column_of_objects_is_read_as_a_column(tmp_path: Path) -> None:
    texts = ({"meta": {"by": {"name": "A"}, "n": 1}, "a.b": 2}, {"meta": None, "a.b": 3})
    name = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, texts)))
    rows = open_source(name, columns={"who": "meta.by.name", "number": "meta.n", "c": "a.b"})
    assert [rows[i]["who"] for i in (0, 1)] == ["A", None]
    assert [rows[i]["number"] for i in (0, 1)] == [1, None]
    assert [rows[i]["c"] for i in (0, 1)] == [2, 3]
    assert rows[0]["meta"] == {"by": {"name": "A"}, "n": 1}
    said = refused(name, columns={"who": "meta.bye"})
    assert "unknown column 'meta.bye'; did you mean 'meta.by'" in said
    assert "no such" not in refused(name, columns={"who": "meta.by.name.first"})


def test_a_folder_of_parallel_files_is_refused_with_the_name_to_read_them_by(
    tmp_path: Path,
) -> None:
    for name in ("t.fra", "t.eng", "t.txt.bak", "notes.de"):
        write(tmp_path / name, "a\n")
    assert f'parallel text files are named as "{tmp_path}/t.{{eng,fra}}".' in refused(str(tmp_path))
    (tmp_path / "t.fra").unlink()
    assert refused(str(tmp_path)).endswith("it holds no data file.")


def test_parallel_files_named_after_splits_are_refused_with_a_source_for_each(
    tmp_path: Path,
) -> None:
    for name in ("test.en", "test.pt_BR", "train.en", "train.pt_BR"):
        write(tmp_path / name, "a\nb\n")
    said = refused(str(tmp_path))
    sources = yaml.safe_load(said[said.index("{train: ") :].removesuffix("."))
    assert list(sources) == ["train", "test"]
    rows = open_source(",".join(f"{split}={name}" for split, name in sources.items()))
    assert rows.columns == ["en", "pt_BR"]
    assert {split: len(part) for split, part in rows.published.items()} == {"train": 2, "test": 2}


def test_parallel_files_may_be_packed_and_more_than_two(tmp_path: Path) -> None:
    for column in "abc":
        write(tmp_path / f"{column}.txt.gz", gzip.compress(column.encode()))
    assert list(open_source(f"{tmp_path}/{{a,b,c}}.txt.gz")) == [{"a": "a", "b": "b", "c": "c"}]


def test_parallel_files_of_two_lengths_are_refused_with_both_counts(tmp_path: Path) -> None:
    write(tmp_path / "t.fra", "un\ndeux\n")
    write(tmp_path / "t.eng", "one\ntwo\nthree\n")
    message = refused(f"{tmp_path}/t.{{fra,eng}}", limit=1)
    assert f"{tmp_path}/t.fra has 2 lines and {tmp_path}/t.eng has 3" in message
    assert "t.deu: no such file" in refused(f"{tmp_path}/t.{{fra,deu}}")
    assert "name each file once" in refused(f"{tmp_path}/t.{{fra,fra}}")
    write(tmp_path / "t.bin", b"\xff\n")
    assert "t.bin, line 1: byte 0xff is not UTF-8" in refused(f"{tmp_path}/t.{{fra,bin}}")


def test_what_datasets_saved_to_disk_is_a_folder_of_splits(tmp_path: Path) -> None:
    import datasets

    part = datasets.Dataset.from_dict({"a": [1, 2]})
    datasets.DatasetDict({"test": part.select([0]), "train": part}).save_to_disk(tmp_path / "all")
    rows = open_source(str(tmp_path / "all"))
    assert [row["a"] for row in rows] == [1, 2, 1]
    assert rows.published == {"train": [0, 1], "test": [2]}
    assert rows.place(2).startswith(f"{tmp_path}/all/test/data-00000-of-00001.arrow, row")
    part.save_to_disk(tmp_path / "one", num_shards=2)
    assert [row["a"] for row in open_source(str(tmp_path / "one"))] == [1, 2]


@pytest.mark.parametrize("name", ["a" * 5000, "a\x00b", "../" * 3000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    assert refused(name)


def test_a_table_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    name = write(tmp_path / "a.tsv", "1_1\t-0.9\tno picture\n1_2\t0.2\tgood\n")
    assert 'data.columns: {text: "1"}' in refused(name)
    rows = open_source(name, columns={"body": "3", "score": "2"})
    assert rows[0] == {"body": "no picture", "score": -0.9, "1": "1_1"}
    assert rows.place(1) == f"{name}, line 2"
    assert "Valid: 1, 2, 3" in refused(name, columns={"body": "4"})
    write(tmp_path / "a.tsv", "1\t2\n3\n")
    assert "line 2: 1 field, but the first line has 2 columns" in refused(name, columns={"x": "1"})


def test_quotes_in_a_tab_separated_file_are_characters_unless_they_enclose(tmp_path: Path) -> None:
    name = write(tmp_path / "a.tsv", 'a\tb\n"Oh" she said\t1\n"x\t2\n6" wide\t3\n')
    assert open_source(name).column("a") == ['"Oh" she said', '"x', '6" wide']
    # What a strict reader would take for one field of two lines.
    name = write(tmp_path / "b.tsv", 'a\tb\n1\t"x\n2\ty"\n')
    assert open_source(name).column("b") == ['"x', 'y"']
    name = write(tmp_path / "c.tsv", 'a\tb\n"x ""y"""\t"1\t2"\n')
    assert open_source(name)[0] == {"a": 'x "y"', "b": "1\t2"}


def test_digits_of_other_scripts_stay_text(tmp_path: Path) -> None:
    assert open_source(write(tmp_path / "a.csv", "a\n١٢\n")).column("a") == ["١٢"]


INVALID = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (INVALID, "column 'a': In chunk 0: Invalid: Invalid UTF8"),
        (pa.array([["x", "y\0"]]), "column 'a': a text holds a NUL"),
        (pa.array([{"b": "\0"}]), "column 'a': a text holds a NUL"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "holds map<string, int64"),
        (pa.array([2**62], pa.timestamp("s")), "column 'a': Python int too large"),
    ],
)
def test_a_table_that_cannot_be_read_as_rows_is_refused(
    tmp_path: Path, column: pa.Array, reason: str
) -> None:
    table = pa.table({"a": column})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert reason in refused(str(tmp_path / "a.arrow"))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert "two columns are called 'a'" in refused(str(tmp_path / "a.arrow"))


def test_numbers_of_rows_that_pandas_names_nothing_are_an_index(tmp_path: Path) -> None:
    rows = open_source(write(tmp_path / "a.csv", ",text\n0,x\n3,y\n"))
    assert [rows[i] for i in range(2)] == [{"index": 0, "text": "x"}, {"index": 3, "text": "y"}]


def test_empty_rows_and_columns_round_a_spreadsheet_are_left_out(tmp_path: Path) -> None:
    sheet = ";;;;\r\nquestion;;answer;;\r\nWhy?;;So.;;\r\n;;;;\r\nWhen?;; ;;\r\n;;;; \r\n"
    rows = open_source(write(tmp_path / "sheet.csv", sheet))
    assert list(rows) == [
        {"question": "Why?", "answer": "So."},
        {"question": "When?", "answer": " "},
    ]
    assert rows.place(1).endswith("line 5")
    same = sheet.replace(";", "\t")
    assert list(open_source(write(tmp_path / "sheet.tsv", same))) == list(rows)
    assert open_source(write(tmp_path / "a.csv", ",text,\n,x,\n,y,\n")).columns == ["text"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.jsonl", '{"a": "b"}\n{"a": "c"}\n'),
        ("r.json", '\n{"a": "b"}\n{"a": "c"}\n'),
        ("r.json", '[{"a": "b"},\n{"a": "c"}]\n'),
        ("r.csv", "a\nb\nc\n"),
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", ["", ".gz", ".xz"])
def test_a_file_of_rows_is_never_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, start: bytes, packed: str
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed]
    file = write(tmp_path / f"{name}{packed}", pack(start + text.encode()))
    held = property(lambda _: pytest.fail("all of the file was read at once"))
    monkeypatch.setattr(Raw, "data", held)
    assert [row["a"] for row in open_source(file)] == ["b", "c"]
    assert [row["a"] for row in open_source(file, limit=1)] == ["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": "1"}, {"a": "\\u00e9]}{"}, {"b": [1.5, 2]}]\n ', ""),
        ('[{"a": 1}, {"a": 2}', "not valid JSON: expecting ',' delimiter at column 20"),
        ('[{"a": 1},]', "not valid JSON"),
        ('[{"a": 1}] {"a": 2}', "not valid JSON: extra data at column 12"),
        ('[{"a": 1}, {"a": NaN}]', "not valid JSON: NaN is not a JSON number"),
        ('[{"a": 1}, {"a": 2, "a": 3}]', "the key 'a' is given twice in one object"),
        ('[{"a": 1}, 2]', "row 2: a row is a JSON object, but this is a number"),
        ('[{"a": 1}, {"a": "x"}]', "row 2: column 'a' holds 'x' but the rows before it hold int64"),
        ('[{"a": 1}, {"b": "\\u0000"}]', "row 2: the text holds a NUL character"),
    ],
)
def test_an_array_is_read_in_parts_as_it_is_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(json_items, "_CHUNK", 1)
    monkeypatch.setattr(containers, "_PART", 1)
    file = write(tmp_path / "r.json", text)
    if message:
        assert message in refused(file)
    else:
        rows = open_source(file)
        assert [{k: v for k, v in row.items() if v is not None} for row in rows] == [
            *json.loads(text)
        ]


def test_a_table_is_read_in_parts_as_it_is_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_PART", 2)
    name = write(tmp_path / "r.csv", ",n,m,p,\n0,1,2,2.5,\n1,,x,,\n2,3,4,1.0,\n")
    rows = open_source(name)
    assert list(rows) == [
        {"index": 0, "n": 1, "m": "2", "p": 2.5},
        {"index": 1, "n": None, "m": "x", "p": None},
        {"index": 2, "n": 3, "m": "4", "p": 1.0},
    ]
    assert rows.place(2) == f"{name}, line 4"
    file = write(tmp_path / "nul.csv", "a\nb\nc\nd\0\n")
    assert refused(file) == f"{file}, line 4: the text holds a NUL character (\\u0000); remove it."


def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "r.jsonl", '{"a": 1}\n')
    digest = files.digest

    def late(path: Path, label: str) -> str:
        with path.open("a") as written:
            written.write('{"a": 2}\n')
        return digest(path, label)

    monkeypatch.setattr(files, "digest", late)
    assert "r.jsonl: the file was written to while it was read; wait until" in refused(file)


def test_a_folder_of_many_files_is_refused_with_some_of_their_names(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"f{number:04}.jsonl").touch()
    said = refused(str(tmp_path))
    assert (
        "it holds f0000.jsonl, f0001.jsonl, f0002.jsonl, f0003.jsonl, f0004.jsonl and 1,995 more."
    ) in said


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (
            "utf-16",
            r"line 1: byte 0xff is not UTF-8 text; save the file as UTF-8 \(iconv -f UTF-16 ",
        ),
        (
            "utf-32",
            r"line 1: byte 0xff is not UTF-8 text; save the file as UTF-8 \(iconv -f UTF-32 ",
        ),
        ("utf-16-le", r"line 1: not valid JSON: it holds a NUL character; .* \(iconv -f UTF-16LE "),
    ],
)
@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
def test_a_wide_encoding_is_named(tmp_path: Path, name: str, encoding: str, message: str) -> None:
    file = write(tmp_path / name, '{"a": 1}\n{"a": 2}\n'.encode(encoding))
    with pytest.raises(InputError, match=message):
        open_source(file)


def test_a_byte_of_another_encoding_in_a_table_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", b"a,b\n1,2\n3,\xff\n")
    with pytest.raises(InputError, match=r"r\.csv, line 3: byte 0xff is not UTF-8"):
        open_source(file)


def test_a_bar_shows_how_much_of_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    chat = {
        "messages": [
            {"role": "user", "content": "é" * 2_500},
            {"role": "assistant", "content": "b"},
        ]
    }
    file = write(tmp_path / "r.jsonl", f"{json.dumps(chat, ensure_ascii=False)}\n" * 300)
    size = Path(file).stat().st_size / 1e6
    with progress.shown(True):
        conversations.chat_rows(open_source(file))
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(containers, "_WORTH_A_BAR", 1)
        monkeypatch.setattr(conversations, "_WORTH_A_BAR", 1)
        conversations.chat_rows(open_source(file))
    shown = capsys.readouterr().err
    assert f"Reading {file}: {size:.0f}/{size:.0f} MB" in shown
    assert "Reading chats: 300/300 rows" in shown


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.json", "r.parquet", "r.arrow", "r.csv.gz"])
def test_a_bar_is_shown_for_every_kind_of_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(containers, "_WORTH_A_BAR", 0)
    draw = random.Random(0)
    texts = [draw.randbytes(100).hex() for _ in range(10_000)]
    table = pa.table({"text": texts, "more": texts})
    file = tmp_path / name
    if name == "r.parquet":
        pq.write_table(table, file)
    elif name == "r.arrow":
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    else:
        between = "\t" if name == "r.tsv" else ","
        lines = ["text" + between + "more", *(between.join((text, text)) for text in texts)]
        whole = json.dumps(table.to_pylist()) if name == "r.json" else "\n".join(lines)
        write(file, gzip.compress(whole.encode()) if name.endswith(".gz") else whole)
    with progress.shown(True):
        assert len(open_source(str(file))) == len(texts)
    size = file.stat().st_size / 1e6
    assert f"Reading {file}: {size:.0f}/{size:.0f} MB" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train-{:05}-of-00060.jsonl", "{}.txt"])
def test_a_bar_counts_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    for number in range(60):
        write(tmp_path / name.format(number), json.dumps({"a": number}))
    with progress.shown(True):
        assert len(open_source(str(tmp_path))) == 60
    assert "Reading files: 60/60 files" in capsys.readouterr().err
