"""`brulee sweep`, from the command line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")

SWEEP = Path("runs/recipe-sweep")


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event for event in lines if event["event"] == kind]


def test_the_best_by_validation_is_chosen_and_alone_tested(at: Any, brulee: Any) -> None:
    recipe = at.write()
    axes = ("--set", "method.rank=2,4", "--set", "train.learning_rate=1e-3,3e-2")
    done = brulee("sweep", recipe, *axes, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["sampler"], len(found["trials"])) == ("grid", 4)
    assert found["trials"][0]["own"]
    values = {t["number"]: t["value"] for t in found["trials"]}
    for number, value in values.items():
        run = at.folder / SWEEP / f"trial-{number:03d}"
        assert value == events(run, "validation")[-1]["loss"]
    best = min(values, key=lambda number: values[number])
    assert found["chosen"] == best != 0, "nothing learned: the test shows nothing"
    tested = {run.parent.name for run in (at.folder / SWEEP).glob("*/results.json")}
    assert tested == {"trial-000", f"trial-{best:03d}"}, "a loser was asked for the test rows"
    weights = {run.parent.name for run in (at.folder / SWEEP).glob("*/adapter")}
    assert weights == tested, "weights of losers were kept, or the winner's lost"
    names = {run["run"] for run in found["tested"]}
    assert names == tested
    assert {pair["task"] for pair in found["test"]} == {"rows/test"}


def test_the_base_is_asked_once(at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from brulee.pipeline import stages

    asked = []
    whole = stages.generate_answers

    def spied(engine: Any, encoder: Any, items: Any, *rest: Any, file: Path, **named: Any) -> Any:
        held = file.is_file()
        asked.append((file.parent.name, held))
        return whole(engine, encoder, items, *rest, file=file, **named)

    monkeypatch.setattr(stages, "generate_answers", spied)
    axis = ("--set", "train.learning_rate=1e-3,3e-2")
    assert brulee("sweep", at.write(), *axis).code == 0
    assert asked == [("base", False), ("tuned", False), ("base", True), ("tuned", False)]


def test_the_command_that_it_prints_makes_the_chosen_run_again(at: Any, brulee: Any) -> None:
    axes = ("--set", "method.name=lora,ia3", "--set", "train.learning_rate=1e-3,3e-2")
    done = brulee("sweep", at.write(), *axes, "--set", "train.batch_size=8", "--json")
    assert done.code == 0, done.err
    chosen = at.folder / SWEEP / f"trial-{done.json['chosen']:03d}"
    command = done.json["command"].split()
    assert command[:3] == ["brulee", "run", "recipe.yaml"]
    assert brulee(*command[1:]).code == 0
    again = at.folder / "runs/recipe"
    key = "adapter_model.safetensors"
    assert (again / "adapter" / key).read_bytes() == (chosen / "adapter" / key).read_bytes()


def test_several_seeds_are_one_trial(at: Any, brulee: Any) -> None:
    axis = ("--set", "train.learning_rate=1e-3,3e-2")
    done = brulee("sweep", at.write(), *axis, "--seeds", 2, "--json")
    assert done.code == 0, done.err
    for trial in done.json["trials"]:
        runs = [at.folder / SWEEP / f"{trial['run']}{end}" for end in ("", "-seed-1")]
        losses = [events(run, "validation")[-1]["loss"] for run in runs]
        assert trial["values"] == losses
        assert losses[0] != losses[1], "both seeds are one"
        assert trial["value"] == pytest.approx(sum(losses) / 2)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (["method.rnk=2,4"], "unknown key 'method.rnk'; did you mean 'rank'?"),
        (["method.rank=2,four"], "--set method.rank: method.rank = 'four' is not valid"),
        (["method.rank=2.5..8"], "method.rank = 2.5 is not valid"),
        (["train.learning_rate=-1..1"], "train.learning_rate = -1 is not valid"),
        (["method.name=lora,loar"], "unknown method 'loar'; did you mean 'lora'"),
        (["method.name=full,ia3", "method.rank=2,4"], "unknown key 'method.rank'"),
        (["data.split.test=0.1,0.2"], "data.split.test is not for a sweep"),
        (["train.epochs=1"], "a sweep needs an axis"),
        (["train.epochs=1,2", "--objective", "rougL"], "unknown objective 'rougL'; did you mean"),
        (["train.epochs=1,2", "--timeout", "soon"], "--timeout soon: write a number"),
    ],
)
def test_bad_axes_are_told_before_anything_is_trained(
    at: Any, brulee: Any, axes: list[str], says: str
) -> None:
    words = [w for text in axes for w in (("--set", text) if "=" in text else (text,))]
    done = brulee("sweep", at.write(), *words)
    assert done.code == 2, done.out
    assert len(done.errors) == 1
    assert says in done.err
    assert not (at.folder / "runs").exists()


def test_without_validation_rows_there_is_nothing_to_choose_by(at: Any, brulee: Any) -> None:
    at.recipe["data"]["split"]["validation"] = 0
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert "a sweep chooses by validation rows, and there are none" in done.err


def test_another_sweep_in_the_folder_is_refused(at: Any, brulee: Any) -> None:
    assert brulee("sweep", at.write(), "--set", "method.rank=2,4").code == 0
    for words, says in (
        (("--set", "method.rank=2,8"), "another axes"),
        (("--set", "method.rank=2,4", "--seeds", 2), "another seeds: 1 there and 2 now"),
        (("--set", "method.rank=2,4", "--set", "train.epochs=2"), "another recipe: train epochs"),
    ):
        done = brulee("sweep", "recipe.yaml", *words)
        assert done.code == 2
        assert says in done.err
    fresh = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,8", "--fresh")
    assert fresh.code == 0, fresh.err
    assert (at.folder / "runs/recipe-sweep.1/sweep.json").is_file()
