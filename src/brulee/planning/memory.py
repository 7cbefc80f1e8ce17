"""The peak memory of a training, by component."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from brulee.models.linear_cross_entropy import CHUNK_LOGITS
from brulee.planning.probe import Probe
from brulee.training.free import free_bytes
from brulee.training.memory import current_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training, from its first step to its last checkpoint.

    `runtime` is what the process takes without a model; 0 on CUDA, as it is not on the device.
    `activations` is everything else in a pass, including kernel workspaces and allocator overhead.
    `saving` is what writing a checkpoint takes in addition.
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
        """The sum of all parts."""
        return sum(asdict(self).values())


def memory(whole: Probe, vocabulary: int, learned: int, device: str = "cpu") -> Memory:
    """Split a probed peak into its parts; `learned` tokens go through the head."""
    held = whole.runtime + whole.weights + whole.gradients + whole.optimizer
    passing = max(0.0, whole.peak - held)
    # The logits of a chunk, and the same again for their gradient.
    logits = min(passing, 2 * 4 * min(learned * vocabulary, CHUNK_LOGITS[device]))
    return Memory(
        weights=int(whole.weights),
        gradients=int(whole.gradients),
        optimizer=int(whole.optimizer),
        activations=int(passing - logits),
        logits=int(logits),
        runtime=int(whole.runtime),
        saving=int(max(0.0, whole.saving - whole.peak)),
    )


def room(device: torch.device) -> int:
    """Bytes that a training on this machine may use now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    return free_bytes() + current_bytes(device)
