"""The peak memory of a training, from its parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psutil
import torch

from brulee.methods.accounting import Count
from brulee.models.head import CHUNK_LOGITS
from brulee.planning.probe import Probe
from brulee.training.memory import current_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes at the highest moment of a training.

    `runtime` is what the process takes beside its tensors; 0 on CUDA, where it is not on the
    device. `saving` is what a checkpoint takes while it is written, beyond the other parts.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    runtime: int
    saving: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def memory(
    count: Count,
    whole: Probe,
    *,
    base_bytes: int,
    trained_in_base: bool,
    vocabulary: int,
    learned: int,
    accumulates: bool,
) -> Memory:
    """Put together what is counted (weights, gradients, moments) and what was probed.

    `base_bytes` are those of the base as it is held; `learned` tokens of the probed pass go through
    a head of `vocabulary` outputs.
    """
    gradients = count.gradient_bytes
    # Without passes before it, a pass makes the gradients itself as it lets go of the rest.
    passing = whole.live_bytes if accumulates else max(0, whole.live_bytes - gradients)
    # The logits of a chunk and as much again while they become their gradient.
    logits = min(passing, 2 * 4 * min(learned * vocabulary, CHUNK_LOGITS))
    # A checkpoint's file is put together in memory, when gradients and activations are gone.
    saving = max(0, count.optimizer_bytes - gradients - passing)
    return Memory(
        weights=base_bytes + (0 if trained_in_base else count.gradient_bytes),
        gradients=gradients,
        optimizer=count.optimizer_bytes,
        activations=passing - logits,
        logits=logits,
        runtime=whole.runtime_bytes,
        saving=saving,
    )


def room(device: torch.device) -> int:
    """Bytes that a training may take on this machine now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available) + current_bytes(device)
