"""Files of plain text as a source: one alone, several in a folder, splits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from brulee.data.formats import detect
from brulee.data.sources import open_source
from brulee.data.text_files import SECTION, sections
from brulee.errors import InputError

PARAGRAPH = "A sentence of a book that goes on for some time. " * 20


def test_files_of_a_folder_are_a_document_each_and_say_where_they_lay(tmp_path: Path) -> None:
    (tmp_path / "inside" / ".hidden").mkdir(parents=True)
    (tmp_path / "a.txt").write_bytes(b"\r\n  One\r\n\r\ntwo\r\n")
    (tmp_path / "inside" / "b.md").write_text("# Three")
    (tmp_path / "inside" / ".hidden" / "c.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    rows = open_source("folder", lambda _: tmp_path)
    assert [rows[i]["text"] for i in range(len(rows))] == ["  One\n\ntwo", "# Three"]
    assert [rows[i]["file"] for i in range(len(rows))] == ["folder/a.txt", "folder/inside/b.md"]
    assert [rows.place(i) for i in range(len(rows))] == ["folder/a.txt", "folder/inside/b.md"]
    assert set(rows.digests) == {"folder/a.txt", "folder/inside/b.md"}
    assert detect(rows).name == "text"


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert len(open_source(str(tmp_path))) == 2


def test_a_limit_counts_documents(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    assert len(open_source(str(tmp_path), limit=2)) == 2


@pytest.mark.parametrize("name", ["book.txt", "book.md"])
def test_a_file_alone_is_cut_at_blank_lines_into_sections_with_their_lines(
    tmp_path: Path, name: str
) -> None:
    paragraphs = [f"{number}. {PARAGRAPH}" for number in range(12)]
    (tmp_path / name).write_text("\n\n" + "\n\n".join(paragraphs) + "\n")
    rows = open_source(str(tmp_path / name))
    texts = rows.column("text")
    assert len(texts) > 1
    assert all(SECTION <= len(text) < SECTION + 2 * len(PARAGRAPH) for text in texts[:-1])
    assert "\n\n".join(texts) == "\n\n".join(paragraphs)
    lines = (tmp_path / name).read_text().split("\n")
    for i, text in enumerate(texts):
        number = int(rows.place(i).rpartition(" ")[2])
        assert lines[number - 1] == text.split("\n")[0]
    assert len(open_source(str(tmp_path / name), limit=1)) == 1
    folder = open_source(str(tmp_path))  # of which it is the only file
    assert folder.column("text") == texts


def test_a_file_with_a_document_a_line_is_cut_at_line_ends() -> None:
    given = [f"{number}. {PARAGRAPH}" for number in range(40)]
    found = sections("\n".join(given))
    assert "\n".join(text for _, text in found) == "\n".join(given)
    assert all(2 * SECTION <= len(text) < 2 * SECTION + 1100 for _, text in found[:-1])
    assert [given[line - 1] for line, _ in found] == [text.split("\n")[0] for _, text in found]


def test_sections_of_blank_lines_are_none() -> None:
    assert sections(" \n\n \t\n") == []
    assert sections("a") == [(1, "a")]
    assert sections("\n\n  a\n") == [(3, "  a")]


def test_texts_beside_rows_say_something_about_them_and_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# About")
    (tmp_path / "training.md").write_text("# How")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").write_text("about tests")
    assert open_source(str(tmp_path)).columns == ["prompt", "completion"]


def test_a_page_called_training_is_no_split_of_a_manual(tmp_path: Path) -> None:
    for name in ("training", "test", "methods"):
        (tmp_path / f"{name}.md").write_text(name)
    rows = open_source(str(tmp_path))
    assert (len(rows), rows.published) == (3, {})


@pytest.mark.parametrize("make", [Path.mkdir, None])
def test_texts_called_as_splits_are_splits(
    tmp_path: Path, make: Callable[[Path], None] | None
) -> None:
    (tmp_path / "README.md").write_text("# About")
    for split in ("train", "test"):
        if make is None:
            (tmp_path / f"{split}.txt").write_text(split)
            continue
        make(tmp_path / split)
        for number in range(2):
            (tmp_path / split / f"{number}.txt").write_text(f"{split} {number}")
    rows = open_source(str(tmp_path))
    assert list(rows.published) == ["train", "test"]
    assert len(rows) == (2 if make is None else 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "a.txt: the file is empty"),
        (b"\n \n", "a.txt: the file is empty"),
        (b"one\ntwo \xff", "a.txt, line 2: byte 0xff is not UTF-8 text"),
        (b"a\n\nb\nc\x00d", "a.txt, line 4: the text holds a NUL character"),
        (
            "one\ntwo".encode("utf-16-le"),
            "a.txt, line 1: the text holds a NUL character; remove it",
        ),
        ("one\ntwo".encode("utf-16"), "iconv -f UTF-16 "),
    ],
)
def test_a_text_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "a.txt"))
    assert reason in str(caught.value)


def test_one_of_several_texts_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"b\.txt, line 1: byte 0xe9 is not UTF-8 text"):
        open_source(str(tmp_path))


def test_one_of_several_texts_that_holds_nul_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_bytes(b"one\ntwo\x00")
    with pytest.raises(InputError, match=r"b\.txt, line 2: the text holds a NUL character"):
        open_source(str(tmp_path))


def test_a_mistyped_text_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(InputError, match=r"notes\.txt"):
        open_source(str(tmp_path / "notse.txt"))


def test_a_packed_text_is_read(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"packed"))
    assert open_source(str(tmp_path / "a.txt.gz")).column("text") == ["packed"]
