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


def test_a_missing_file_is_named(brulee, tmp_path: Path) -> None:
    done = brulee("leaderboard", tmp_path / "none")
    assert done.code == 2
    assert "none: no such file or folder" in done.err
