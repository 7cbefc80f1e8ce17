"""A run on a base that is sharded between processes, so that none of them ever holds all of it.

It is scored where it is trained, in its shards, by the first process. Before the training the
method is attached already, and is turned off for the base's scores.
"""

from __future__ import annotations

import gc

from brulee.methods import Attached
from brulee.pipeline.preparation import Prepared, with_base_anew
from brulee.pipeline.stages import score, write_up
from brulee.pipeline.storing import from_disk
from brulee.pipeline.summary import Scored
from brulee.pipeline.trained import Trained, Tuned
from brulee.pipeline.tuning import trainer_of, tune
from brulee.training.sharding import shard


def run_sharded(prepared: Prepared, known: Trained | None) -> None:
    """Score the base, tune it unless a training is `known`, score it again, write the report."""
    if known is None:
        tuned, before, after = _trained(prepared)
    else:
        tuned, before, after = _again(prepared, known)
    if before is not None and after is not None:  # in the process that writes
        write_up(prepared, tuned, before, after)


def _trained(prepared: Prepared) -> tuple[Tuned, Scored | None, Scored | None]:
    trainer = trainer_of(prepared)
    attached, passes = trainer.attached, trainer.passes
    before = passes.led(lambda: _before(prepared, attached))
    tuned = tune(prepared, trainer=trainer)
    return tuned, before, passes.led(lambda: score(prepared, "tuned", attached))


def _before(prepared: Prepared, attached: Attached) -> Scored:
    """The scores of what training starts from, by a model with an untrained method on it."""
    if prepared.start:
        return score(prepared, "base", attached)
    if prepared.method.stores_model:
        return score(prepared, "base")
    with attached.disabled():
        return score(prepared, "base")


def _again(prepared: Prepared, known: Trained) -> tuple[Tuned, Scored | None, Scored | None]:
    """Only the scores, of a training that ended before."""
    start = prepared.start.attach(prepared.base) if prepared.start else None
    before = _scored(prepared, "base", start)
    if not prepared.method.stores_model:
        prepared = with_base_anew(prepared)
    prepared, tuned = from_disk(prepared, known)
    del start
    gc.collect()  # the base's shards, before those of the tuned model come to the device
    return tuned, before, _scored(prepared, "tuned", tuned.attached)


def _scored(prepared: Prepared, who: str, attached: Attached | None) -> Scored | None:
    apart = attached.replicated() if attached else ()
    sharded = shard(prepared.base.model, prepared.world, apart)
    return sharded.led(lambda: score(prepared, who, attached))
