"""A training that ended is known to have ended by what it stored, whatever became of the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from brulee.reporting import results

RUN, STRAIGHT = Path("runs/recipe"), Path("runs/straight")
WEIGHTS = {"lora": "adapter/adapter_model.safetensors", "full": "model/model.safetensors"}
BEST = {"train__epochs": 2, "train__validate_every": 2, "train__keep_best": True}


def train(at: Any, once: Any, method: str = "lora", **changes: Any) -> Path:
    """A finished training; the file of its weights."""
    once("train", at.write(method={"name": method}, **changes))
    return RUN / WEIGHTS[method]


def _tear(file: Path) -> None:
    file.write_bytes(b"torn")


def stamps() -> dict[Path, int]:
    made = [*RUN.glob("*/*"), RUN / "events.jsonl", RUN / "trained.json"]
    return {file: file.stat().st_mtime_ns for file in made}


# Here and below each method and each harm once; the other pairs are slow.
@pytest.mark.parametrize(
    ("method", "gone"),
    [
        ("lora", "checkpoints/best"),
        ("full", "checkpoints"),
        pytest.param("lora", "checkpoints", marks=pytest.mark.slow),
        pytest.param("full", "checkpoints/best", marks=pytest.mark.slow),
    ],
)
def test_without_its_checkpoints_it_is_still_over(
    at: Any, brulee: Any, once: Any, method: str, gone: str
) -> None:
    train(at, once, method, **BEST)
    shutil.rmtree(RUN / gone)
    before = stamps()
    for arguments in (["resume", RUN], ["train", "recipe.yaml"]):
        done = brulee(*arguments)
        assert (done.code, "Training" in done.err) == (0, False)
    assert stamps() == before, "something was trained or stored again"


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    "method", ["lora", "full", "prompt", "prefix", "ia3", "bottleneck", "selective"]
)
def test_what_is_scored_later_is_what_was_stored(at: Any, brulee: Any, method: str) -> None:
    recipe = at.write(method={"name": method})
    for command in (["train", recipe], ["run", recipe, "--folder", "runs/straight"]):
        assert brulee(*command).code == 0
    shutil.rmtree(RUN / "checkpoints")
    done = brulee("run", recipe)
    assert done.code == 0, done.err
    assert not (RUN / "checkpoints").exists(), "it was trained once more"
    later, straight = (folder / "eval/tuned/rows-test.jsonl" for folder in (RUN, STRAIGHT))
    assert later.read_text() == straight.read_text()
    one, other = results.read(RUN), results.read(STRAIGHT)
    assert one.training == other.training
    assert (one.cost.train_tokens, one.cost.adapter_bytes) == (
        other.cost.train_tokens, other.cost.adapter_bytes
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "harm"),
    [
        ("lora", _tear),
        ("full", Path.unlink),
        pytest.param("lora", Path.unlink, marks=pytest.mark.slow),
        pytest.param("full", _tear, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_result_is_stored_again_from_the_checkpoint(
    at: Any, brulee: Any, once: Any, method: str, harm: Any
) -> None:
    weights = train(at, once, method)
    events, stored = (RUN / "events.jsonl").read_bytes(), weights.read_bytes()
    harm(weights)
    done = brulee("resume", RUN)
    assert done.code == 0, done.err
    assert (
        f"{weights}: damaged or missing since the training ended; it is written again" in done.err
    )
    assert weights.read_bytes() == stored
    assert (RUN / "events.jsonl").read_bytes() == events


@pytest.mark.parametrize("command", ["train", "run"])
def test_a_damaged_result_without_checkpoints_is_a_sentence(
    at: Any, brulee: Any, once: Any, command: str
) -> None:
    weights = train(at, once)
    weights.unlink()
    shutil.rmtree(RUN / "checkpoints")
    done = brulee(command, "recipe.yaml")
    assert done.code == 2
    (said,) = done.errors
    assert f"{weights}: damaged or missing since the training ended, and no checkpoint" in said
    assert not (RUN / "checkpoints").exists(), "it was trained from the start, unasked"
    assert brulee(command, "recipe.yaml", "--fresh").code == 0


@pytest.mark.parametrize("changed", [None, "rows.jsonl", "model"])
def test_that_it_is_over_is_said_without_the_model(
    at: Any, brulee: Any, once: Any, monkeypatch: pytest.MonkeyPatch, changed: str | None
) -> None:
    train(at, once)
    monkeypatch.setattr(
        "brulee.pipeline.preparation.load_recipe_base", lambda *_, **__: pytest.fail("loaded")
    )
    if changed == "rows.jsonl":
        rows = (at.folder / changed).read_text().splitlines()
        (at.folder / changed).write_text("\n".join([*rows, rows[0]]) + "\n")
    elif changed == "model":
        monkeypatch.setattr("brulee.models.base_files.sha256", lambda _: "another")
    for arguments in (["resume", RUN], ["train", "recipe.yaml"]):
        done = brulee(*arguments)
        if changed is None:
            assert (done.code, done.out) == (0, f"adapter: {RUN}/adapter\n"), done.err
        else:
            what = "the data" if changed == "rows.jsonl" else "the base model"
            assert done.code == 2
            assert f"{RUN}: {what} changed since this run began" in done.err


@pytest.mark.parametrize("most", [2, 50])
def test_steps_that_the_epochs_do_not_give_are_told(at: Any, brulee: Any, most: int) -> None:
    done = brulee("train", at.write(train__max_steps=most, train__epochs=1))
    assert done.code == 0, done.err
    said = "recipe.yaml, line 4: train.max_steps = 50 is not reached: train.epochs = 1 of "
    assert (said in done.err) == (most == 50), done.err


@pytest.mark.parametrize("warmup", [1, 9])
def test_a_warm_up_that_outlasts_the_training_is_told(at: Any, brulee: Any, warmup: int) -> None:
    done = brulee("train", at.write(train__max_steps=2, train__warmup=warmup))
    assert done.code == 0, done.err
    said = "recipe.yaml, line 4: train.warmup = 9 steps of 2: the learning rate never reaches"
    assert (said in done.err) == (warmup == 9), done.err


def test_an_adapter_may_name_its_base_anew(at: Any, brulee: Any, once: Any) -> None:
    train(at, once)
    config = RUN / "adapter/adapter_config.json"
    named = {**json.loads(config.read_text()), "base_model_name_or_path": "elsewhere"}
    config.write_text(json.dumps(named))
    assert brulee("resume", RUN).code == 0
    assert json.loads(config.read_text()) == named


def test_a_mark_that_cannot_be_read_is_a_sentence(at: Any, brulee: Any, once: Any) -> None:
    train(at, once)
    (RUN / "trained.json").write_text("{}")
    done = brulee("resume", RUN)
    assert (done.code, len(done.errors)) == (2, 1)
    assert (
        f"{RUN / 'trained.json'}: not a file that a training writes at its end; delete it"
        in done.err
    )
    (RUN / "trained.json").unlink()
    assert brulee("resume", RUN).code == 0


def test_how_training_went_is_in_the_results_the_report_and_the_card(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("brulee.training.trainer.Trainer.validation_loss", lambda _: next(given))
    at.recipe["train"] |= {"patience": 1, "keep_best": True, "generate_every": 2}
    done = brulee(*at.run(train__validate_every=1, method={"name": "full"}))
    assert done.code == 0, done.err
    went = results.read(RUN).training
    assert went == results.Training(
        steps=3, planned_steps=4, kept_step=2, stopped_early=True, best_step=2,
        best_validation_loss=1.0,
    )  # fmt: skip
    line = (
        "topped early after 3 of 4 steps; the weights are from step 2, which had the lowest "
        "validation loss (1.0000)"
    )
    card, page = (RUN / "model/README.md").read_text(), (RUN / "report.html").read_text()
    assert f"- training: s{line}\n" in card
    assert "- method: full\n" in card, "options that say nothing are told"
    assert f"S{line}" in page
    assert "Completions of validation rows during training" in page
