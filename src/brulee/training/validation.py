"""The loss on the validation rows, over all processes; left off when one is asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from brulee.data.encoding import Encoded
from brulee.models.loading import Base
from brulee.training import together
from brulee.training.passes import Passes
from brulee.training.world import World


def validation_loss(
    base: Base,
    passes: Passes,
    documents: Sequence[Encoded],
    world: World,
    stopping: Callable[[], bool] = lambda: False,
) -> float | None:
    """Mean loss per learned token; None in every process if one was `stopping` after a pass.

    A base in shards is always validated to the end, as its processes must make the same passes.
    """
    training = base.model.training
    base.model.eval()
    own = world.mine(documents)
    missing = together.missing(world, passes, own)
    total, learned, stopped = 0.0, 0.0, False
    with passes.boundary():
        for loss, weight in passes.losses(own):
            total, learned = total + loss, learned + weight
            if not world.shards and stopping():
                stopped = True
                break
        for _ in range(missing):
            passes.total_loss(documents[:1])
    passes.rest()
    if world.size > 1:
        # On the model's device: NCCL cannot reduce CPU tensors.
        held = torch.tensor([total, learned, stopped], dtype=torch.float64, device=base.device)
        total, learned, halted = world.sum(held).tolist()
        stopped = halted > 0
    base.model.train(training)
    return None if stopped else float(total / learned)
