"""trained.json, the last file of a training: it marks the end, with costs and stored files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from brulee.errors import InputError
from brulee.methods import Attached
from brulee.methods.adapter_files import CARD, CONFIG
from brulee.models.bundled import sha256
from brulee.pipeline.folder import RunFolder
from brulee.progress import note
from brulee.reporting.results import Cost, Record, Training
from brulee.training import checkpoint
from brulee.training.totals import Totals

FILE_NAME = "trained.json"


class Trained(Record):
    """A training's entries for results.json, and the SHA-256 of each stored file."""

    training: Training
    cost: Cost
    files: dict[str, str]


@dataclass(frozen=True)
class Tuned:
    """A trained method on its model, and the record of its training."""

    attached: Attached
    trained: Trained


def ended(where: RunFolder) -> Trained | None:
    """The record of a training that ended with its files intact; None if there is work to do.

    Raises InputError if files are damaged or missing and no checkpoint can restore them.
    """
    file = where.path / FILE_NAME
    if not where.begun or not file.is_file():
        return None
    trained = read(file)
    bad = _damaged(where.path, trained.files)
    if bad is None:
        return trained
    said = f"{bad}: damaged or missing since the training ended"
    if checkpoint.newest(where.path / "checkpoints") is None:
        raise InputError(
            f"{said}, and no checkpoint is left to write it from; restore it, or start over with "
            "--fresh, which moves the run aside."
        )
    note(f"{said}; it is written again from the newest checkpoint.")
    return None


def seal(where: RunFolder, stored: Path, training: Training, cost: Cost) -> Trained:
    """Record that a training ended and stored this folder."""
    # The card is rewritten with the scores.
    files = sorted(file for file in stored.rglob("*") if file.is_file() and file.name != CARD)
    digests = {file.relative_to(where.path).as_posix(): sha256(file) for file in files}
    trained = Trained(training=training, cost=cost, files=digests)
    where.write_json(FILE_NAME, trained.model_dump(mode="json"))
    return trained


def course_of(totals: Totals, events: Iterable[Mapping[str, Any]]) -> Training:
    """A summary of a training, for results.json."""
    counts = Counter(str(event["event"]) for event in events)
    best = totals.best
    validated = best.loss is not None and math.isfinite(best.loss)
    return Training(
        steps=totals.steps,
        planned_steps=totals.planned,
        kept_step=totals.kept,
        stopped_early=totals.early,
        best_step=best.step if validated else None,
        best_validation_loss=best.loss if validated else None,
        skipped_steps=counts["skipped"],
        loss_spikes=counts["spike"],
        out_of_memory=counts["out_of_memory"],
    )


def _damaged(run: Path, files: Mapping[str, str]) -> Path | None:
    """The first stored file that has changed or is missing."""
    for name, digest in files.items():
        file = run / name
        # An adapter's configuration may be edited to rename its base; loading checks the rest.
        if not file.is_file() or (file.name != CONFIG and sha256(file) != digest):
            return file
    return None


def read(file: Path) -> Trained:
    """The record in a file. Raises InputError if it is damaged."""
    try:
        return Trained.model_validate_json(file.read_bytes())
    except ValidationError:
        raise InputError(
            f"{file}: not a file that a training writes at its end; delete it, and the training "
            "continues from its newest checkpoint."
        ) from None
