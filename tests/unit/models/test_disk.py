"""A new folder is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.models.disk import check_new_folder, new_folder


def test_a_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    for _ in range(2):  # absent, then empty
        with new_folder(out) as aside:
            (aside / "file").write_text("x")
            assert not (out / "file").exists()
        assert [p.name for p in out.parent.iterdir()] == ["out"]
        (out / "file").unlink()


def test_half_a_folder_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), new_folder(tmp_path / "out") as aside:
        (aside / "file").mkdir() or (aside / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_new_folder(tmp_path / "out", "the result")
    (tmp_path / "out" / "file").touch()
    for taken in (tmp_path / "out", tmp_path / "out" / "file"):
        with pytest.raises(InputError, match="exists already and is not an empty folder"):
            check_new_folder(taken, "the result")
    with pytest.raises(InputError, match="a file, where the result should be"):
        check_new_folder(tmp_path / "out" / "file" / "deeper", "the result")
