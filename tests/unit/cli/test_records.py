import re
from pathlib import Path

import pytest

from brulee.cli.records import Record, read_records, text_lists, texts
from brulee.errors import InputError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_blank_line_of_txt_keeps_its_place(tmp_path: Path) -> None:
    records = read_records(write(tmp_path, "a.txt", "one\r\n\nthree\n"))
    assert [r.value for r in records] == ["one", "", "three"]
    assert records[2].place == f"{tmp_path / 'a.txt'}, line 3"


def test_unicode_line_separators_split_no_text(tmp_path: Path) -> None:
    records = read_records(write(tmp_path, "a.txt", "a\u2028b\x0cc\n"))
    assert [r.value for r in records] == ["a\u2028b\x0cc"]


def test_jsonl_holds_strings_or_mappings(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '\ufeff"x"\n\n{"output": "y", "id": 3}\n')
    assert texts(read_records(file), ["prediction", "output"]) == ["x", "y"]


def test_first_key_wins_over_later_ones() -> None:
    assert texts([Record("p", {"text": "b", "output": "a"})], ["output", "text"]) == ["a"]


def test_references_are_one_text_or_several() -> None:
    records = [Record("p", "a"), Record("p", ["b", "c"]), Record("p", {"reference": "d"})]
    assert text_lists(records, ["references", "reference"]) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt: the file is empty"),
        ("a.csv", "x", "unknown kind of file '.csv'; valid: .txt, .jsonl"),
        ("a.txt", b"ab\xff", "a.txt: byte 2 is not UTF-8 text"),
        ("a.jsonl", '"x"\n{"y": \n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '"x"\n' + "9" * 5000, "a.jsonl, line 2: not usable JSON"),
    ],
)
def test_bad_file_is_named_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_records(write(tmp_path, name, content))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such file"):
        read_records(tmp_path / "none")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"id": 1}, "here: needs the key 'output' or 'text'; keys present: 'id'"),
        ({"output": 3}, "here: a text is needed here, not 3"),
        (None, "here: a text is needed here, not null"),
        ("\ud83d", "here: the text contains a lone surrogate"),
    ],
)
def test_bad_value_is_named_with_its_place(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        texts([Record("here", value)], ["output", "text"])


def test_empty_list_of_references_is_refused() -> None:
    with pytest.raises(InputError, match="here: the list of texts is empty"):
        text_lists([Record("here", [])], ["references"])
