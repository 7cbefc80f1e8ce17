"""Runs on rows that were in memory: kept, resumed, scored anew, refused where they are others."""

from __future__ import annotations

import copy
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import brulee

BAD = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))
ROWS: list[dict[str, Any]] = BAD["ROWS"]
Values = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture
def values(at: Any) -> Values:
    """A recipe's values with rows for a source; dotted changes with `__` for a dot."""

    def make(rows: Any = ROWS, **changes: Any) -> dict[str, Any]:
        made = copy.deepcopy({**at.recipe, "name": "memory"})
        made["evaluate"]["resamples"] = 20
        made["data"]["source"] = rows
        for key, value in changes.items():
            section, last = key.split("__")
            made[section][last] = value
        return made

    return make


def _weights(run: brulee.Run) -> bytes:
    return (run.weights / "adapter_model.safetensors").read_bytes()


def test_a_run_keeps_the_rows_it_was_trained_on(values: Values, at: Any) -> None:
    run = brulee.run(values())
    (file,) = (run.folder / "rows").iterdir()
    assert json.loads(file.read_text()) == ROWS
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["data"]["rows"].startswith(file.name.split(".")[1])
    assert f"source: memory/{file.stem}" in (run.folder / "recipe.yaml").read_text()
    assert "rows of `memory/rows." in (run.weights / "README.md").read_text()
    at.rows(ROWS)
    assert _weights(brulee.run({**values("rows.jsonl"), "name": "file"})) == _weights(run)


def test_the_same_rows_go_on_and_others_are_refused(values: Values) -> None:
    run = brulee.train(values())
    before = _weights(run)
    with pytest.raises(brulee.InputError, match="holds a run on other rows") as said:
        brulee.run(values(ROWS[:-1]))
    assert said.value.__notes__ == ["In Python --fresh is fresh=True, --folder is folder=PATH."]
    assert brulee.run(values(pd.DataFrame(ROWS))).scores
    with pytest.raises(brulee.InputError, match="on other rows"):
        brulee.run(values(ROWS[::-1]))
    assert _weights(run) == before
    moved = brulee.run(values(ROWS[:-1]), fresh=True)
    assert len(json.loads(next((moved.folder / "rows").iterdir()).read_text())) == len(ROWS) - 1
    assert len(list(Path("runs/memory.1/rows").iterdir())) == 1


def test_a_stopped_run_is_resumed_without_its_rows_and_wherever_it_lies(
    values: Values, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, brulee: Any
) -> None:
    import brulee as library

    whole = library.run(values(), folder="runs/whole")
    monkeypatch.setattr("brulee.pipeline.stages.answer_items", lambda *_, **__: 1 / 0, raising=True)
    with pytest.raises(ZeroDivisionError):
        library.run(values())
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    shutil.move("runs/memory", "elsewhere")
    assert brulee("resume", "elsewhere").code == 0
    there = library.Run(Path("elsewhere"))
    assert _weights(there) == _weights(whole)
    assert there.scores == whole.scores


def test_a_run_is_scored_anew_and_started_again_from_its_own_recipe(
    values: Values, brulee: Any
) -> None:
    import brulee as library

    run = library.run(values())
    weights = _weights(run)
    again = library.run(values(evaluate__metrics=["chrf"]))
    assert {score["metric"] for score in again.scores} == {"chrf"}
    assert _weights(again) == weights
    own = str(run.folder / "recipe.yaml")
    assert "memory/rows." in brulee("data", "inspect", own, "--json").out
    assert brulee("run", own, "--folder", "runs/copy").code == 0
    assert len(list(Path("runs/copy/rows").iterdir())) == 1
    assert brulee("run", own, "--fresh").code == 0
    for folder in ("runs/copy", "runs/memory"):
        assert _weights(library.Run(Path(folder))) == weights


def test_rows_that_were_edited_in_the_folder_are_refused_and_mended_by_giving_them_again(
    values: Values,
) -> None:
    run = brulee.train(values())
    (file,) = (run.folder / "rows").iterdir()
    file.write_text(file.read_text().replace("kettle", "cattle"))
    with pytest.raises(brulee.InputError, match=f"{file.name}: these are not the rows"):
        brulee.resume(run)
    file.unlink()
    with pytest.raises(brulee.InputError, match="these rows were given from Python and are not"):
        brulee.resume(run)
    brulee.train(values())
    assert json.loads(file.read_text()) == ROWS
    assert brulee.resume(run).folder == run.folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"templates": None}, "rows: the columns (noise, hum) do not say"),
        ({"templates": {"jinja": "{{nois}} ||| {{hum}}"}}, "rows: no column 'nois', which"),
        ({"columns": {"text": "hiss"}}, "rows: unknown column 'hiss'"),
        ({"split": {"group": "hiss"}}, "rows: unknown column 'hiss'"),
        ({"split": {"test": 2}}, "rows: split: test 2 leave nothing to train on"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_errors_name_rows_and_not_the_file_that_keeps_them(
    values: Values, change: dict[str, Any], said: str
) -> None:
    made = values([{"noise": 1, "hum": 2}, {"noise": 3, "hum": 4}])
    made["data"] = {
        "source": made["data"]["source"],
        "templates": {"jinja": "{{noise}} ||| {{hum}}"},
    }
    made["data"] |= change
    with pytest.raises(brulee.InputError) as caught:
        brulee.train(made)
    assert said in str(caught.value)
    assert "memory/" not in str(caught.value)


def test_a_run_that_was_killed_as_it_kept_its_rows_begins_again(values: Values) -> None:
    source = brulee.recipe_from_dict(values()).tasks[0][1].source
    torn = Path("runs/memory/rows") / f".{source.removeprefix('memory/')}.json.tmp"
    torn.parent.mkdir(parents=True)
    torn.write_text("[{")
    assert brulee.train(values()).weights.is_dir()
    other = Path("runs/theirs/rows/letter.txt")
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(brulee.InputError, match="not empty and holds no run"):
        brulee.train(values(), folder="runs/theirs")


def test_splits_and_mixtures_are_kept_too(values: Values) -> None:
    splits = {"train": ROWS[:16], "validation": ROWS[16:20], "test": ROWS[20:]}
    made = values()
    task = made["data"]
    del task["split"]
    made["data"] = [
        {**task, "source": splits, "name": "split"},
        {**task, "source": (row for row in ROWS), "name": "whole"},
    ]
    run = brulee.run(made)
    assert {score["task"] for score in run.scores} == {"split/test", "whole/test"}
    assert brulee.resume(run.folder).scores == run.scores
    used = json.loads((run.folder / "split.json").read_text())["tasks"]["split"]["used"]
    assert used == {"train": 16, "validation": 4, "test": 4}


def test_an_error_in_a_row_names_the_row(values: Values) -> None:
    bad = [*ROWS[:2], {**ROWS[2], "summary": 7}, *ROWS[3:]]
    with pytest.raises(brulee.InputError, match=r"^rows, row 3: column 'summary' holds 7"):
        brulee.run(values(bad))
    bad[2] = {"dialogue": "x"}
    with pytest.raises(brulee.InputError, match=r"^rows, row 3: .*'summary'"):
        brulee.run(values(bad))
    assert not Path("runs/memory").exists()
