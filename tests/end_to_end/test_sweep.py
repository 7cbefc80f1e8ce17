"""`brulee sweep`, from the command line."""

from __future__ import annotations

import json
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed"),
    pytest.mark.usefixtures("unforeseen"),
]


BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))
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
    whole = stages.answer_items

    def spied(engine: Any, encoder: Any, items: Any, *rest: Any, file: Path, **named: Any) -> Any:
        held = file.is_file()
        asked.append((file.parent.name, held))
        return whole(engine, encoder, items, *rest, file=file, **named)

    monkeypatch.setattr(stages, "answer_items", spied)
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


@pytest.mark.slow
def test_an_option_that_a_method_lacks_is_tried_with_the_others(at: Any, brulee: Any) -> None:
    axes = ("--set", "method.rank=2,4", "--set", "method.name=lora,ia3")
    done = brulee("sweep", at.write(), *axes)
    assert done.code == 0, done.err
    assert "method.rank is not an option of ia3, which goes without it.\n" in done.err
    found = json.loads((at.folder / SWEEP / "sweep.json").read_text())
    assert [t["settings"] for t in found["trials"]] == [
        {"method.name": "lora", "method.rank": 2},
        {"method.name": "lora", "method.rank": 4},
        {"method.name": "ia3"},
    ]


def test_of_ranges_settings_are_proposed_and_none_twice(at: Any, brulee: Any) -> None:
    axes = ("--set", "train.learning_rate=1e-4..1e-1:log", "--set", "method.rank=1..8")
    done = brulee("sweep", at.write(train__max_steps=1), *axes, "--trials", 3, "--json")
    assert done.code == 0, done.err
    tried = [trial["settings"] for trial in done.json["trials"]]
    assert (len(tried), done.json["sampler"]) == (4, "tpe")
    assert tried[0] == {"train.learning_rate": 1e-3, "method.rank": 2}
    assert len({json.dumps(settings) for settings in tried}) == 4
    assert all(isinstance(settings["method.rank"], int) for settings in tried)
    assert all(1e-4 <= settings["train.learning_rate"] <= 1e-1 for settings in tried)
    again = brulee("sweep", "recipe.yaml", *axes, "--trials", 3, "--json", "--folder", "other")
    assert [trial["settings"] for trial in again.json["trials"]] == tried, "the seed decides"


@pytest.mark.slow
def test_more_trials_go_on_where_fewer_ended(at: Any, brulee: Any) -> None:
    axis = ("--set", "method.rank=1,2,3,4")
    few = brulee("sweep", at.write(train__max_steps=1), *axis, "--trials", 2, "--json").json
    more = brulee("sweep", "recipe.yaml", *axis, "--json").json
    assert [t["values"] for t in more["trials"][:3]] == [t["values"] for t in few["trials"]]
    assert sorted(t["settings"]["method.rank"] for t in more["trials"]) == [1, 2, 3, 4]
    if more["chosen"] != few["chosen"] != 0:
        assert more["tested_before"] == [few["chosen"]]


def test_a_recipe_beside_the_axes_is_tried_as_it_is(at: Any, brulee: Any) -> None:
    done = brulee("sweep", at.write(train__max_steps=1), "--set", "method.rank=4,8", "--json")
    trials = done.json["trials"]
    assert [trial["settings"] for trial in trials] == [{}, {"method.rank": 4}, {"method.rank": 8}]
    recipe = (at.folder / SWEEP / "trial-000/recipe.yaml").read_text()
    assert "rank: 2" in recipe


def test_a_trial_that_fails_is_told_and_the_sweep_goes_on(at: Any, brulee: Any) -> None:
    done = brulee("sweep", at.write(), "--set", "train.learning_rate=1e-3,1e30,2e-3")
    assert done.code == 0, done.err
    found = json.loads((at.folder / SWEEP / "sweep.json").read_text())
    states = [trial["state"] for trial in found["trials"]]
    assert states == ["complete", "failed", "complete"]
    assert "not finite" in found["trials"][1]["reason"] or "nan" in found["trials"][1]["reason"]
    assert "1 of 3 failed" in done.out
    assert "trial-001 failed: " in done.out
    again = brulee("sweep", "recipe.yaml", "--set", "train.learning_rate=1e-3,1e30,2e-3")
    assert again.code == 0
    assert "Training" not in again.err, "something was trained again"


def test_a_score_of_validation_rows_may_choose(at: Any, brulee: Any) -> None:
    axes = ("--set", "train.learning_rate=1e-3,5e-2", "--objective", "rougeL")
    done = brulee("sweep", at.write(train__epochs=3), *axes, "--json")
    assert done.code == 0, done.err
    assert done.json["higher_is_better"] is True
    for trial in done.json["trials"]:
        file = at.folder / SWEEP / trial["run"] / "eval/validation/rows.jsonl"
        scores = [json.loads(line)["scores"]["rougeL"] for line in file.read_text().splitlines()]
        assert len(scores) == done.json["validation_rows"]
        assert trial["value"] == pytest.approx(sum(scores) / len(scores))
    values = [trial["value"] for trial in done.json["trials"]]
    assert done.json["chosen"] == values.index(max(values))


def test_what_is_worse_than_most_is_ended_early(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "brulee.training.trainer.Trainer.validation_loss", lambda self: self.learning_rate
    )
    rates = "1e-3,2e-3,3e-3,5e-3,5e-4"
    recipe = at.write(train__validate_every=1)
    done = brulee("sweep", recipe, "--set", f"train.learning_rate={rates}", "--prune", "--json")
    assert done.code == 0, done.err
    states = [trial["state"] for trial in done.json["trials"]]
    assert states == ["complete", "complete", "complete", "pruned", "complete"]
    assert done.json["chosen"] == 4
    pruned = at.folder / SWEEP / "trial-003"
    assert len(events(pruned, "step")) == 1
    assert not (pruned / "checkpoints").exists()
    assert "at step 1 its validation loss, 0.0050, was above" in done.json["trials"][3]["reason"]


@pytest.mark.slow
def test_after_the_time_no_trial_begins(at: Any, brulee: Any) -> None:
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4,6,8", "--timeout", "0.0001s")
    assert done.code == 0, done.err
    assert "of 4 were not started; run the same command again to continue" in done.out


def test_from_python(at: Any, one_thread: None) -> None:
    import brulee

    rows = BAD["ROWS"]
    recipe = {**at.recipe, "data": {**at.recipe["data"], "source": rows}}
    recipe["train"] = {**recipe["train"], "max_steps": 2}
    axes = {"train.learning_rate": [1e-3, 3e-2], "train.batch_size": 8}
    found = brulee.sweep(recipe, axes, folder=at.folder / "s")
    assert (found.folder / "sweep.html").is_file()
    assert found.best.results.run == found.results.best.run
    assert found.settings == {"train.learning_rate": 3e-2}
    assert found.results.command == (
        "brulee run RECIPE --set train.batch_size=8 --set train.learning_rate=0.03"
    )
    assert [trial["value"] for trial in found.trials] == sorted(t["value"] for t in found.trials)
    assert "<table>" in found._repr_html_()
    assert found.verdict in " ".join(str(found).split())
    for wrong in ({"trials": "3"}, {"seeds": 0}, {"timeout": 0}):
        with pytest.raises(brulee.InputError, match=f"{next(iter(wrong))} = .*: it should be"):
            brulee.sweep(recipe, axes, folder=at.folder / "t", **wrong)
    with pytest.raises(brulee.InputError, match=r"method\.rnk"):
        brulee.sweep(recipe, {"method.rnk": [1, 2]}, folder=at.folder / "t")
    assert not (at.folder / "t").exists()


@pytest.mark.slow
def test_a_base_that_is_held_otherwise_is_asked_itself(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brulee.pipeline.sweeps import finals

    shared: list[tuple[Path, Path]] = []
    monkeypatch.setattr(finals, "_share", lambda *folders: shared.append(folders))
    axis = ("--set", "method.name=lora,full")
    rates = ("--set", "train.learning_rate=1e-3,3e-2")
    done = brulee("sweep", at.write(), *axis, *rates, "--json", "--keep-all")
    assert done.code == 0, done.err
    assert done.json["trials"][done.json["chosen"]]["method"] == "full"
    assert shared == [], "full fine-tuning holds its base in fp32"
    assert len(list((at.folder / SWEEP).glob("trial-*/model"))) == 2
    assert len(list((at.folder / SWEEP).glob("trial-*/adapter"))) == 2


def test_a_method_that_has_no_room_for_all_validation_rows_is_not_compared(
    at: Any, brulee: Any
) -> None:
    long = {"dialogue": "Ana: a chair.", "summary": " ".join(f"chair {i}" for i in range(18))}
    at.rows([*BAD["ROWS"], *({**long, "dialogue": f"Ana: chair {i}."} for i in range(24))])
    axes = ("--set", "method.name=lora,prompt", "--set", "method.tokens=60,61")
    recipe = at.write(train__max_steps=1, train__max_length=200)
    done = brulee("sweep", recipe, *axes, "--json")
    assert done.code == 0, done.err
    states = {trial["method"]: trial["state"] for trial in done.json["trials"]}
    assert states == {"lora": "complete", "prompt": "failed"}
    assert "raise train.max_length to compare it" in done.json["trials"][1]["reason"]


def test_a_dry_run_says_what_it_will_take_and_writes_nothing(
    at: Any, brulee: Any, tried_here: None
) -> None:
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4", "--seeds", 3, "--dry-run")
    assert done.code == 0, done.err
    assert done.out.startswith("6 trainings of about ")
    assert not (at.folder / "runs").exists()


def test_trials_are_runs_for_other_commands(at: Any, brulee: Any) -> None:
    done = brulee("sweep", at.write(), "--set", "train.learning_rate=1e-3,2e-2,3e-2", "--json")
    chosen = SWEEP / f"trial-{done.json['chosen']:03d}"
    compared = brulee("compare", SWEEP / "trial-000", chosen)
    assert compared.code == 0, compared.err
    assert brulee("generate", chosen, "--prompt", "Sum up: a", "--max-new-tokens", 2).code == 0
    (loser,) = {0, 1, 2} - {0, done.json["chosen"]}
    lost = brulee("generate", SWEEP / f"trial-{loser:03d}", "--prompt", "a")
    assert lost.code == 2
    assert lost.errors == [
        f"error: {SWEEP}/trial-{loser:03d}: this run has no adapter yet; train it with: "
        f"brulee resume {SWEEP}/trial-{loser:03d}"
    ]
    lose = at.folder / SWEEP / f"trial-{loser:03d}"
    before = [event["loss"] for event in events(lose, "step")]
    assert brulee("resume", lose).code == 0
    assert [event["loss"] for event in events(lose, "step")] == before
    assert (lose / "adapter").is_dir()
    whole = brulee("resume", SWEEP)
    assert whole.code == 2
    assert "run the same `brulee sweep` again" in whole.err


@pytest.mark.parametrize(
    ("axis", "count"),
    [
        ("method.rank=1..3", 3),
        pytest.param("train.learning_rate=0.001..0.0010001", 6, marks=pytest.mark.slow),
    ],
)
def test_a_narrow_range_ends_when_all_was_tried(
    at: Any, brulee: Any, axis: str, count: int
) -> None:
    recipe = at.write(train__max_steps=1)
    done = brulee("sweep", recipe, "--set", axis, "--trials", 5, "--json")
    assert done.code == 0, done.err
    tried = [json.dumps(trial["settings"]) for trial in done.json["trials"]]
    assert len(set(tried)) == len(tried) == count
