from pathlib import Path

import pytest

from brulee.evaluation import LABELLED, METRICS
from brulee.evaluation.suites import SUITES


def test_bundled_path_is_the_unpacked_folder(
    brulee, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("brulee.models.bundled.bundled_folder", lambda: tmp_path / "unpacked")
    assert brulee("models", "path", "bundled").out == f"{tmp_path / 'unpacked'}\n"
    assert brulee("models", "path", "bundled", "--json").json["name"] == "bundled"


def test_folder_is_its_own_path(brulee, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    assert brulee("models", "path", "mine").out == f"{tmp_path.resolve() / 'mine'}\n"


def test_mistyped_model_names_the_nearest(brulee) -> None:
    done = brulee("models", "path", "bundeld")
    assert done.code == 2
    assert "did you mean 'bundled'" in done.err


def test_bundled_model_is_listed_without_being_unpacked(brulee) -> None:
    assert [m["name"] for m in brulee("models", "list", "--json").json] == ["bundled"]


def test_methods_are_listed_with_what_they_train(brulee) -> None:
    listed = {m["name"]: m["summary"] for m in brulee("methods", "list", "--json").json}
    assert {"full", "lora"} <= set(listed)
    assert all(listed.values())


def test_suites_are_listed_with_what_they_ask_and_their_options(brulee) -> None:
    listed = {one["name"]: one for one in brulee("suites", "list", "--json").json}
    assert set(listed) == set(SUITES)
    assert listed["mmlu"]["options"] == ["prompt", "shots", "split", "subjects"]
    assert len({one["summary"] for one in listed.values()} - {""}) == len(listed)
    shown = brulee("suites", "list").out
    assert all(f"\n{name} " in shown for name in SUITES)
    assert "FILE.yaml" in shown


def test_every_metric_that_a_recipe_takes_is_listed(brulee) -> None:
    listed = {one["name"]: one["summary"] for one in brulee("metrics", "list", "--json").json}
    assert set(listed) == {*METRICS, *LABELLED, "json:schema=FILE"}
    assert all(listed.values())
    assert "rougeW-1.2" in brulee("metrics", "list").out


def test_bundled_data_are_listed_with_rows_and_columns(brulee) -> None:
    listed = {one["name"]: one for one in brulee("data", "list", "--json").json}
    chats = listed["bundled/support-chats"]
    assert (chats["rows"], "dialogue" in chats["columns"]) == (216, True)
    assert "bundled/product-reviews" in brulee("data", "list").out
