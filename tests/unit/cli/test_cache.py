from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from brulee.models.bundled import NAME
from brulee.models.cached import KINDS

DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two given models of 100 bytes, the first of them ten days old."""
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path))
    for name, age in (("llama-old", 10), ("llama-new", 0)):
        folder = tmp_path / "models" / "given" / name
        folder.mkdir(parents=True)
        file = folder / "model.safetensors"
        file.write_bytes(b"x" * 100)
        written = time.time() - age * DAY
        for path in (file, folder):
            os.utime(path, (written, written))
    (tmp_path / "models" / "given" / ".given-being-written").mkdir()
    (tmp_path / "models" / NAME).mkdir()
    (tmp_path / "models" / NAME / "config.json").write_bytes(b"{}")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "a.so").write_bytes(b"abc")
    return tmp_path


def test_the_parts_are_listed_with_their_sizes(brulee, cache: Path) -> None:
    found = brulee("cache", "list", "--json").json
    assert found["folder"] == str(cache)
    assert {part["part"]: part["bytes"] for part in found["parts"]} == {
        "bundled": 2,
        "given": 200,
        "evaluations": 0,
        "kernels": 3,
    }
    shown = brulee("cache", "list").out
    assert "200 B" in shown
    assert "runs on them lose their base" in shown


def test_what_is_old_is_deleted_and_nothing_else(brulee, cache: Path) -> None:
    done = brulee("cache", "clear", "given", "--older-than", 5)
    assert done.out.splitlines() == [
        str(cache / "models" / "given" / "llama-old"),
        "1 deleted, 100 B",
    ]
    left = sorted(path.name for path in (cache / "models" / "given").iterdir())
    assert left == [".given-being-written", "llama-new"]
    assert brulee("cache", "clear", "given", "--json").json["bytes"] == 100
    assert (cache / "models" / NAME / "config.json").is_file()


def test_each_part_is_cleared_by_itself(brulee, cache: Path) -> None:
    assert brulee("cache", "clear", "kernels").out.endswith("1 deleted, 3 B\n")
    assert brulee("cache", "clear", "bundled").out.endswith("1 deleted, 2 B\n")
    assert not (cache / "models" / NAME).exists()
    assert len(list((cache / "models" / "given").iterdir())) == 3
    assert brulee("cache", "clear", "evaluations").out == "0 deleted, 0 B\n"


def test_a_part_that_is_none_is_named_with_the_nearest(brulee, cache: Path) -> None:
    done = brulee("cache", "clear", "givn")
    assert done.code == 2
    assert "unknown part of the cache 'givn'; did you mean 'given'?" in done.err
    assert len(list((cache / "models" / "given").iterdir())) == 3


def test_the_help_names_every_part(brulee) -> None:
    shown = brulee("cache", "clear", "--help").out
    assert [name for name in KINDS if name not in shown] == []
