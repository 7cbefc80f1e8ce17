"""What a recipe may ask of a training, and what is known of it before: from the command line."""

from __future__ import annotations

import errno
import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brulee import pipeline
from brulee.recipe import load_recipe
from brulee.training import trackers
from brulee.training.range_test import Found
from brulee.training.recorder import Recorder

plans: Any = importlib.import_module("brulee.pipeline.plan")


def events(at: Any, kind: str) -> list[dict[str, Any]]:
    lines = (at.folder / "runs/recipe/events.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == kind]


def test_completions_of_validation_rows_are_scored_and_kept(at: Any, brulee: Any) -> None:
    recipe = at.write(train__epochs=2, train__generate_every=3, train__generate_rows=2)
    done = brulee("train", recipe)
    assert done.code == 0, done.err
    found = events(at, "completions")
    assert [e["step"] for e in found] == [3, 6, 8]
    assert 0.0 <= found[0]["scores"]["rouge1"] <= 1.0
    assert len(found[0]["samples"]) == 2
    assert found[0]["samples"][0].keys() == {"prompt", "output", "reference"}
    assert "step 3: rouge1" in done.err, "nothing was shown"
    wanted = found[0]["samples"][0]["reference"]
    assert f"\n  should: {wanted}\n" in done.err, "nobody can tell how good the output is"


def test_prompts_are_learned_too_and_validation_is_of_answers(at: Any, brulee: Any) -> None:
    told = {}
    for weight in (0.0, 1.0):
        recipe = at.write(train__prompt_loss_weight=weight, train__learning_rate=1e-12)
        done = brulee("train", recipe, "--fresh")
        assert done.code == 0, done.err
        told[weight] = [events(at, kind) for kind in ("step", "validation")]
    (steps, validated), (with_prompts, validated_too) = told[0.0], told[1.0]
    assert [e["tokens"] for e in steps] == [e["tokens"] for e in with_prompts]
    assert abs(steps[0]["loss"] - with_prompts[0]["loss"]) > 1e-3
    assert validated[0]["loss"] == pytest.approx(validated_too[0]["loss"], abs=1e-6)
    shown = brulee("data", "inspect", recipe).out
    assert "of the tokens are learned, and the loss of the others counts as much" in shown


def test_smoothing_is_of_the_trained_loss_alone(at: Any, brulee: Any) -> None:
    told = {}
    for share in (0.0, 0.3):
        recipe = at.write(train__label_smoothing=share, train__learning_rate=1e-12)
        done = brulee("train", recipe, "--fresh")
        assert done.code == 0, done.err
        told[share] = [events(at, kind)[0]["loss"] for kind in ("step", "validation")]
    assert abs(told[0.0][0] - told[0.3][0]) > 1e-3
    assert told[0.0][1] == pytest.approx(told[0.3][1], abs=1e-6)
    done = brulee("train", at.write(train__label_smoothing=1))
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "error: recipe.yaml, line 4: train.label_smoothing = 1 is not valid: it should be less "
        "than 1.",
    )


def test_rows_are_learned_in_the_order_of_the_source(at: Any, brulee: Any) -> None:
    """Where sizes rise along the file, so do those of steps, in every epoch."""
    rows = [{"dialogue": "word " * (2 + 3 * i) + str(i), "summary": f"So {i}."} for i in range(24)]
    (at.folder / "rising.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {}
    for shuffle in (False, True):
        recipe = at.write(
            data__source="rising.jsonl", train__shuffle=shuffle, train__epochs=2,
            train__batch_size=4,
        )  # fmt: skip
        done = brulee("train", recipe, "--fresh")
        assert done.code == 0, done.err
        told[shuffle] = [e["tokens"] for e in events(at, "step")]
    per_epoch = len(told[False]) // 2
    first, second = told[False][:per_epoch], told[False][per_epoch:]
    assert first == sorted(first)
    assert len(first) > 2
    assert second[1] >= second[0]
    assert told[True] != told[False]
    assert sum(told[True]) == sum(told[False])


@pytest.mark.parametrize("command", ["train", pytest.param("plan", marks=pytest.mark.slow)])
def test_prompts_of_an_encoder_decoder_are_refused(
    at: Any, brulee: Any, tiny_t5_folder: Path, command: str
) -> None:
    recipe = at.write(model=str(tiny_t5_folder), train__prompt_loss_weight=0.5)
    done = brulee(command, recipe)
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "error: recipe.yaml, line 4: train.prompt_loss_weight: not for encoder-decoder models, "
        "which read a prompt and do not predict it; leave it out.",
    )


def test_completions_without_a_metric_say_so(at: Any, brulee: Any) -> None:
    at.recipe["evaluate"]["metrics"] = []
    done = brulee("train", at.write(train__generate_every=3))
    assert "step 3: not scored, as there are no metrics\n  prompt: " in done.err


def test_the_validation_loss_and_the_step_that_was_kept_are_told(at: Any, brulee: Any) -> None:
    done = brulee("train", at.write(train__validate_every=2, train__keep_best=True))
    losses = {e["step"]: e["loss"] for e in events(at, "validation")}
    for step, loss in losses.items():
        assert re.search(rf"Training: {step}/4 steps  .*validation {loss:.3f}  ", done.err)
    best = min(losses, key=lambda step: losses[step])
    assert f"kept step {best} (validation {losses[best]:.4f})\n" in done.err


def test_after_an_early_stop_it_is_told_that_the_best_step_was_not_kept(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([1.0, 2.0])
    monkeypatch.setattr("brulee.training.trainer.Trainer.validation_loss", lambda _: next(given))
    done = brulee("train", at.write(train__validate_every=1, train__patience=1))
    assert "kept step 2, the last; train.keep_best keeps step 1\n" in done.err


def test_looking_on_changes_nothing_of_the_training(at: Any, brulee: Any) -> None:
    losses = []
    for every in (None, 1):
        recipe = at.write(method={"name": "lora", "dropout": 0.3}, train__generate_every=every)
        assert brulee("train", recipe, "--fresh").code == 0
        losses.append([e["loss"] for e in events(at, "step")])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("key", ["keep_best", "patience", "generate_every"])
def test_what_needs_validation_rows_says_so(at: Any, brulee: Any, key: str) -> None:
    at.recipe["data"]["split"]["validation"] = 0
    done = brulee("train", at.write(**{f"train__{key}": True if key == "keep_best" else 1}))
    assert done.code == 2
    assert f"recipe.yaml, line 4: train.{key} needs validation rows" in done.err


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_the_numbers_of_every_step(at: Any, brulee: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert brulee("train", at.write(train__trackers=["tensorboard"])).code == 0
    (folder,) = {file.parent for file in (at.folder / "runs/recipe/trackers").rglob("events.out*")
                 if file.parent.name == "recipe"}  # fmt: skip
    written = EventAccumulator(str(folder))
    written.Reload()
    losses = [(e.step, e.value) for e in written.Scalars("train/loss")]
    expected = [(e["step"], pytest.approx(e["loss"], rel=1e-5)) for e in events(at, "step")]
    assert losses == expected
    assert written.Scalars("validation/loss")


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_resumed_run_is_one_curve_in_tensorboard(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def lost_power(recorder: Recorder, step: int, loss: float) -> None:
        validation(recorder, step, loss)
        if step == 7:
            raise SystemError("power cut")

    validation = Recorder.validation
    monkeypatch.setattr(Recorder, "validation", lost_power)
    often = {"train__epochs": 3, "train__save_every": 4, "train__validate_every": 1}
    with pytest.raises(SystemError):
        pipeline.train(load_recipe(at.write(train__trackers="tensorboard", **often)))
    monkeypatch.undo()
    monkeypatch.chdir(at.folder)
    for _ in range(2):  # the second time nothing is left to train
        assert brulee("resume", "runs/recipe").code == 0
    folder = at.folder / "runs/recipe/trackers/recipe"
    assert len(list(folder.iterdir())) == 2, "one file a start, and no folders"
    written = EventAccumulator(str(folder))
    written.Reload()
    for tag in ("train/loss", "validation/loss"):
        assert [e.step for e in written.Scalars(tag)] == list(range(1, 13))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    done = brulee("train", at.write(train__trackers=[name]))
    assert done.code == 2
    assert (
        f"recipe.yaml, line 4: the tracker {name!r} needs the package {name!r}; install it with: "
        "pip install 'brulee[trackers]'. Or continue without it: run the recipe again with "
        "--set 'train.trackers=[]'." in done.err
    )


def test_an_unknown_tracker_is_told(at: Any, brulee: Any) -> None:
    done = brulee("train", at.write(train__trackers=["comet"]))
    assert done.code == 2
    assert "recipe.yaml, line 4: unknown tracker 'comet'" in done.err


def test_a_mask_from_gradients_is_chosen_once(at: Any, brulee: Any) -> None:
    method = {"name": "selective", "train": "sparse", "mask": "fisher", "density": 0.05}
    recipe = at.write(method={**method, "documents": 4})
    assert brulee("train", recipe).code == 0
    chosen = at.folder / "runs/recipe/chosen.safetensors"
    before = chosen.read_bytes()
    weights = at.folder / "runs/recipe/adapter/adapter_model.safetensors"
    stored = weights.read_bytes()
    ended = at.folder / "runs/recipe/trained.json"
    ended.unlink()  # as if it had been killed before its end
    assert brulee("resume", "runs/recipe").code == 0
    assert chosen.read_bytes() == before
    assert weights.read_bytes() == stored
    ended.unlink()
    chosen.write_bytes(before[:-10])
    done = brulee("resume", "runs/recipe")
    assert (done.code, len(done.errors)) == (2, 1)
    assert "runs/recipe/chosen.safetensors: corrupt safetensors: " in done.errors[0]


def test_a_learning_rate_is_found_and_no_trace_left(at: Any, brulee: Any) -> None:
    recipe = at.write(train__batch_size=8)
    before = sorted(p.name for p in at.folder.iterdir())
    done = brulee("train", recipe, "--find-lr", "--plot", "rates.png", "--quiet")
    assert done.code == 0, done.err
    assert "*" in done.out
    (line,) = [x for x in done.out.splitlines() if x.startswith("suggested: --set train.")]
    assert 1e-6 < float(line.split("=")[1]) < 1.0
    assert (at.folder / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in at.folder.iterdir()) == sorted([*before, "rates.png"])
    done = brulee("train", recipe, "--plot", "rates.png")
    assert (done.code, done.err) == (2, "error: --plot draws what --find-lr finds; give both.\n")


@pytest.mark.parametrize(
    ("plot", "says"),
    [
        ("nodir/x.png", "nodir/x.png: there is no folder nodir to draw it in; make it first."),
        ("x.doc", "x.doc: pictures are drawn as .png, .svg, .pdf, .jpg; give it one of these"),
        ("x", "x: pictures are drawn as .png, .svg, .pdf, .jpg; give it one of these endings."),
        (".", ".: a folder, where the picture should be; name a file in it."),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_told_before_the_rates_are_tried(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch, plot: str, says: str
) -> None:
    monkeypatch.setattr("brulee.pipeline.find_learning_rate", None)
    done = brulee("train", at.write(), "--find-lr", "--plot", plot)
    assert done.code == 2
    assert done.err.startswith(f"error: {says}")


def test_a_rate_is_told_though_its_picture_fails(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "rates.png")

    found = Found((1e-4, 1e-3), (2.0, 1.0), 1e-3)
    monkeypatch.setattr("brulee.pipeline.find_learning_rate", lambda _: found)
    monkeypatch.setattr("brulee.reporting.curve.as_picture", full)
    done = brulee("train", at.write(), "--find-lr", "--plot", "rates.png")
    assert done.code == 2
    assert "suggested: --set train.learning_rate=1.0e-03\n" in done.out


def test_a_damaged_line_of_events_is_a_sentence_on_resume(at: Any, brulee: Any) -> None:
    assert brulee("train", at.write()).code == 0
    (at.folder / "runs/recipe/trained.json").unlink()
    log = at.folder / "runs/recipe/events.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    done = brulee("resume", "runs/recipe")
    assert (done.code, len(done.errors)) == (2, 1)
    assert "runs/recipe/events.jsonl, line 2: damaged" in done.err


def test_a_plan_tells_every_method_and_writes_nothing(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    plan = plans.plan
    monkeypatch.setattr(plans, "plan", lambda *given: made.append(plan(*given)) or made[-1])
    recipe = at.write()
    before = sorted(p.name for p in at.folder.iterdir())
    found = brulee("plan", recipe, "--json", "--quiet").json
    assert sorted(p.name for p in at.folder.iterdir()) == before
    lines = {line["method"]: line for line in found["lines"]}
    assert found["lines"][0]["method"] == "lora"
    assert {"full", "lora", "ia3", "prompt", "prefix", "bottleneck", "selective"} <= lines.keys()
    told = [line for line in lines.values() if line["refusal"] is None]
    for line in told:
        parts = {k: v for k, v in line["memory"].items() if k != "total"}
        assert line["memory"]["total"] == sum(parts.values())
        assert line["memory"]["activations"] > 0
        assert line["cost"]["seconds"] > 0
    # AdamW keeps two values of every trained one, a full training most of all.
    full, lora = lines["full"]["memory"], lines["lora"]["memory"]
    assert full["gradients"] == lines["full"]["trainable"] * 4
    assert full["optimizer"] > 2 * full["gradients"]
    assert full["optimizer"] > 5 * lora["optimizer"]
    asked: list[list[str]] = []
    monkeypatch.setattr(plans, "plan", lambda _, names: asked.append(list(names)) or made[0])
    shown = brulee("plan", recipe, "--method", "ia3", "--quiet").out
    assert asked == [["ia3"]]
    assert "activations" in shown
    assert "run's folder: the result and the kept checkpoints" in shown
    assert " in float32; " in shown
    assert " are free on this machine now." in shown


@pytest.mark.slow
def test_torchrun_needs_no_change_of_recipe(
    at: Any, brulee: Any, environment: dict[str, str]
) -> None:
    recipe = at.write()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "-m", "brulee", "train", recipe],
        cwd=at.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("adapter: ") == 1, "only the first process speaks"
    two = [e["loss"] for e in events(at, "step")]
    assert brulee("train", recipe, "--fresh").code == 0
    assert [e["loss"] for e in events(at, "step")] == pytest.approx(two, abs=1e-5)
    assert Path(at.folder, "runs/recipe/adapter/adapter_model.safetensors").is_file()
