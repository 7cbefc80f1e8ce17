import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import brulee as package
from brulee import progress
from brulee.errors import StoppedError
from brulee.reporting import results

RECIPE = "data: {source: rows.jsonl, templates: dialogue-summary}\n"


class FakePipeline(types.ModuleType):
    """Remembers how it was called; its run folder holds what the test put there."""

    def __init__(self, folder: Path) -> None:
        super().__init__("brulee.pipeline")
        self.folder = folder
        self.called: list[tuple[str, Any, dict[str, Any]]] = []

    def run(self, recipe: Any, **how: Any) -> Path:
        self.called.append(("run", recipe, how))
        return self.folder

    def train(self, recipe: Any, **how: Any) -> Path:
        self.called.append(("train", recipe, how))
        return self.folder

    def resume(self, folder: Path) -> Path:
        self.called.append(("resume", folder, {}))
        return self.folder


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats.yaml").write_text(RECIPE)
    fake = FakePipeline(tmp_path / "runs" / "chats")
    fake.folder.mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "brulee.pipeline", fake)
    monkeypatch.setattr(package, "pipeline", fake, raising=False)
    return fake


def finish(folder: Path) -> None:
    base, method = results.Base(name="tiny", digest="0"), results.Method(name="lora")
    results.write(results.Results(schema=1, run="chats", base=base, method=method), folder)


@pytest.mark.parametrize("command", ["run", "train"])
def test_options_reach_the_pipeline(brulee, pipeline: FakePipeline, command: str) -> None:
    finish(pipeline.folder)
    (pipeline.folder / "adapter").mkdir()
    done = brulee(
        *[command, "chats.yaml", "--set", "train.epochs=2", "--set", "method.rank=4"],
        *["--folder", "elsewhere", "--fresh", "--json"],
    )
    assert done.code == 0, done.err
    [(called, recipe, how)] = pipeline.called
    assert (called, how) == (command, {"folder": Path("elsewhere"), "fresh": True})
    assert (recipe.train.epochs, recipe.method.options()) == (2.0, {"rank": 4})


def test_run_prints_the_results_as_json(brulee, pipeline: FakePipeline) -> None:
    finish(pipeline.folder)
    done = brulee("run", "chats.yaml", "--json")
    assert (done.json["schema"], done.json["run"]) == (1, "chats")


def test_run_prints_where_the_report_lies(brulee, pipeline: FakePipeline) -> None:
    finish(pipeline.folder)
    done = brulee("run", "chats.yaml")
    assert done.out.endswith(f"Report: {pipeline.folder / 'report.html'}\n")


@pytest.mark.parametrize("kind", ["adapter", "model"])
def test_train_prints_what_it_left(brulee, pipeline: FakePipeline, kind: str) -> None:
    (pipeline.folder / kind).mkdir()
    done = brulee("train", "chats.yaml")
    assert done.out == f"{kind}: {pipeline.folder / kind}\n"


def test_resume_ends_where_the_stopped_command_would_have(brulee, pipeline: FakePipeline) -> None:
    (pipeline.folder / "adapter").mkdir()
    assert "adapter" in brulee("resume", pipeline.folder, "--json").json
    finish(pipeline.folder)
    assert brulee("resume", pipeline.folder, "--json").json["run"] == "chats"


def test_quiet_leaves_progress_off(brulee, pipeline: FakePipeline) -> None:
    finish(pipeline.folder)
    brulee("run", "chats.yaml", "--quiet", "--json")
    assert progress._enabled is False
    brulee("run", "chats.yaml", "--json")
    assert progress._enabled is True


def test_mistyped_key_is_told_before_the_pipeline_starts(brulee, pipeline: FakePipeline) -> None:
    done = brulee("run", "chats.yaml", "--set", "train.epoch=2")
    assert done.code == 2
    assert "did you mean 'epochs'" in done.err
    assert pipeline.called == []


def test_missing_recipe_names_the_nearest(brulee, pipeline: FakePipeline) -> None:
    done = brulee("run", "chat.yaml")
    assert (done.code, done.err) == (
        2,
        "error: chat.yaml: no such recipe file. Did you mean chats.yaml?\n",
    )


def test_stopped_training_prints_its_sentence(
    brulee, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(recipe: Any, **how: Any) -> Path:
        raise StoppedError("stopped at step 3; go on with: brulee resume runs/chats")

    monkeypatch.setattr(pipeline, "run", stopped)
    done = brulee("run", "chats.yaml")
    assert done.code == 2
    assert done.err == "error: stopped at step 3; go on with: brulee resume runs/chats\n"


def test_compare_needs_two_runs(brulee, pipeline: FakePipeline) -> None:
    finish(pipeline.folder)
    assert "needs two runs" in brulee("compare", pipeline.folder).err
    copy = shutil.copytree(pipeline.folder, pipeline.folder.with_name("copy"))
    done = brulee("compare", pipeline.folder, copy, "--json")
    assert [one["run"] for one in done.json] == ["chats", "chats"]


def test_a_run_is_not_compared_with_itself(brulee, pipeline: FakePipeline) -> None:
    finish(folder := pipeline.folder)
    done = brulee("compare", folder, folder / "results.json")
    assert done.code == 2
    assert done.err == (
        f"error: compare needs runs that differ; {folder / 'results.json'} was given twice, as "
        f"{folder}.\n"
    )
    assert "was given twice.\n" in brulee("compare", folder, folder, "--json").err


def test_compared_runs_of_one_name_go_by_their_paths(brulee, tmp_path: Path) -> None:
    for at in ("a", "b"):
        results.write(
            results.Results(
                run="chat",
                base=results.Base(name="small", digest="d"),
                method=results.Method(name="lora"),
            ),
            tmp_path / at,
        )
    shown = brulee("compare", tmp_path / "a", tmp_path / "b").out.split()
    assert {str(tmp_path / "a"), str(tmp_path / "b")} <= set(shown)


def test_compare_of_a_folder_without_results_names_it(brulee, pipeline: FakePipeline) -> None:
    done = brulee("compare", pipeline.folder, "elsewhere")
    assert done.code == 2
    assert "results.json: no such file" in done.err


def test_a_run_that_was_only_trained_is_told_how_it_is_scored(brulee, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: bundled\n")
    done = brulee("report", tmp_path)
    assert done.code == 2
    assert "is not fully scored yet; continue with: brulee run " in done.err
    assert f"--folder {tmp_path}" in done.err
