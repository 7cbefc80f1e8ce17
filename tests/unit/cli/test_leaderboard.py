import json
from pathlib import Path

import pytest


@pytest.fixture
def published(tmp_path: Path) -> Path:
    file = tmp_path / "results_1.json"
    results = {"arc": {"acc,none": 0.25, "acc_stderr,none": 0.01}}
    file.write_text(json.dumps({"results": results, "model_name": "m"}))
    return file


def test_leaderboard_prints_and_writes_what_it_is_asked_for(
    brulee, published: Path, tmp_path: Path
) -> None:
    page, table = tmp_path / "board.html", tmp_path / "board.csv"
    done = brulee("leaderboard", f"a={published}", f"b={published}", "--html", page, "--csv", table)
    assert done.code == 0
    assert "arc accuracy" in done.out
    assert page.read_text().startswith("<!doctype html>")
    assert table.read_text().splitlines()[1].startswith("a,arc,accuracy,0.25,")
    scores = brulee("leaderboard", f"a={published}", "--json").json["scores"]
    assert [s["model"] for s in scores] == ["a"]


def test_a_table_is_written_into_a_folder_that_is_made(brulee, published, tmp_path: Path) -> None:
    table = tmp_path / "new" / "board.csv"
    assert brulee("leaderboard", published, "--csv", table).code == 0
    assert table.read_text().startswith("model,task,")


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_a_place_that_cannot_be_written_to_is_named(
    brulee, published, tmp_path: Path, option: str
) -> None:
    done = brulee("leaderboard", published, option, tmp_path)
    assert done.code == 2
    assert f"{option} {tmp_path}: a folder, where the file should be" in done.err
    done = brulee("leaderboard", published, option, published / "board")
    assert done.code == 2
    assert f"{published} is a file, where a folder is needed" in done.err


def test_a_missing_file_is_named(brulee, tmp_path: Path) -> None:
    done = brulee("leaderboard", tmp_path / "none")
    assert done.code == 2
    assert "none: no such file or folder" in done.err
