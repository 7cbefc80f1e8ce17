from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.textfile import read_text, write_text


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_text(tmp_path / "a") == "a: 1\n"


def test_a_byte_that_is_not_utf_8_is_named_with_the_label(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"^task/a: byte 2 is not UTF-8 text\.$"):
        read_text(tmp_path / "a", "task/a")


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    write_text(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_text(file, "new")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a", "old")]
