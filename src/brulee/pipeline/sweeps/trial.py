"""One trial of a sweep: a setting trained with each seed, and its validation result."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from brulee import pipeline
from brulee.data.encoding import Encoded
from brulee.errors import AskedToStopError, InputError, StoppedError
from brulee.models.allocator import is_exhaustion
from brulee.pipeline.sweeps.outline import Outline
from brulee.pipeline.sweeps.score import validation_score
from brulee.pipeline.sweeps.study import NAME, Claim, Study
from brulee.pipeline.trained import FILE_NAME, Trained, read
from brulee.reporting.sweep_results import LOSS
from brulee.training.events import read_events

# Including the record of the training, so that `brulee resume` trains again.
_WEIGHTS = (FILE_NAME, "adapter", "model", "checkpoints", "chosen.safetensors")


class _PrunedError(StoppedError):
    """A training was worse than the others at the same step."""


def folder_of(sweep: Path, number: int, seed: int = 0) -> Path:
    """The run folder of a trial: trial-007, and trial-007-seed-1 for its second seed."""
    return sweep / (NAME.format(number) + (f"-seed-{seed}" if seed else ""))


def try_out(outline: Outline, study: Study, claim: Claim) -> None:
    """Train a claimed trial, from where it was left, and report the result to the study.

    A failed training is reported, not raised. Raises InputError for what would fail again, and
    AskedToStopError on an interrupt, after which the trial can be continued.
    """
    try:
        seeds = range(outline.options.seeds)
        values = [_value(outline, claim, seed, study.day) for seed in seeds]
    except AskedToStopError:
        raise
    except _PrunedError as error:
        study.pruned(claim, str(error), *_course(outline, claim))
    except StoppedError as error:
        study.failed(claim, str(error), *_course(outline, claim))
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not is_exhaustion(error):
            raise
        study.failed(claim, "out of memory.", *_course(outline, claim))
    else:
        study.told(claim, values, *_course(outline, claim))


def forget_weights(run: Path) -> None:
    """Delete a run's weights; its recipe and events stay, and it can be trained again."""
    for name in _WEIGHTS:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)


def trained(run: Path) -> Trained | None:
    """The record of a run's training; None if it has not ended or its weights were deleted.

    Raises InputError if it is damaged.
    """
    file = run / FILE_NAME
    return read(file) if file.is_file() else None


def curve(run: Path) -> list[tuple[int, float]]:
    """The validation losses of a run by step, without non-finite ones."""
    events = read_events(run / "events.jsonl")
    found = {e["step"]: float(e["loss"]) for e in events if e["event"] == "validation"}
    return [(step, loss) for step, loss in sorted(found.items()) if math.isfinite(loss)]


def _value(outline: Outline, claim: Claim, seed: int, day: date) -> float:
    """The objective of a setting with one seed. Raises StoppedError if it is not finite."""
    recipe = outline.space.recipe_of(claim.point, seed)
    run = folder_of(outline.folder, claim.number, seed)
    pipeline.train(recipe, folder=run, watch=_Watch(outline, claim, seed), dated=day)
    value = _kept_loss(run)
    if outline.options.objective != LOSS:
        value = validation_score(recipe, run, outline.options.objective)
    if not math.isfinite(value):
        raise StoppedError(f"{run.name}: its {outline.options.objective} is {value}.")
    return value


def _course(outline: Outline, claim: Claim) -> tuple[float, list[tuple[int, float]]]:
    """The seconds of the steps of all seeds, and the validation losses of the first seed."""
    runs = [folder_of(outline.folder, claim.number, seed) for seed in range(outline.options.seeds)]
    events = [event for run in runs for event in read_events(run / "events.jsonl")]
    return math.fsum(event.get("seconds", 0.0) for event in events), curve(runs[0])


def _kept_loss(run: Path) -> float:
    """The validation loss of the weights that were stored."""
    went = trained(run)
    assert went is not None, "the training has just ended"
    kept = went.training.kept_step
    losses = {e["step"]: e["loss"] for e in read_events(run / "events.jsonl")
              if e["event"] == "validation"}  # fmt: skip
    return float(losses.get(kept, math.nan))


@dataclass
class _Watch:
    """Observes a trial's training: checks its validation rows, and prunes it if asked."""

    outline: Outline
    claim: Claim
    seed: int

    def begins(self, validation: Sequence[Encoded]) -> None:
        self._check_facts()
        learned, of = sum(one.learned for one in validation), self.outline.ground.learned
        if learned != of:
            raise StoppedError(
                f"{NAME.format(self.claim.number)}: {learned:,} of the {of:,} "
                "tokens that the others are validated on fit beside what this method reads before "
                "every document; raise train.max_length to compare it."
            )

    def _check_facts(self) -> None:
        """Raise InputError if the files are no longer those that the sweep began with.

        A run on changed rows is deleted: it would be refused once the original is restored.
        """
        run = folder_of(self.outline.folder, self.claim.number, self.seed)
        now = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        for key in ("data", "templates"):
            began = self.outline.ground.facts[key]
            if now[key] != began:
                shutil.rmtree(run)
                raise InputError(
                    f"{self.outline.folder}: {key} changed while the sweep went on: it was "
                    f"{began} and is {now[key]}. Trials of both cannot be compared: restore the "
                    "original and start it again, or start over with --fresh."
                )

    def validated(self, step: int, loss: float) -> None:
        if not self.outline.options.prune or self.seed or not math.isfinite(loss):
            return
        trial = self.claim.trial
        # A resumed training reports steps again; optuna keeps the first report.
        trial.report(-loss if self.outline.maximise else loss, step)
        if trial.should_prune():
            raise _PrunedError(
                f"at step {step} its validation loss, {loss:.4f}, was above the median of the "
                "trials before it."
            )
