"""Random numbers of a block of work: isolated from the process's, or drawn a second time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch


def isolated_rng(device: torch.device) -> AbstractContextManager[None]:
    """Restore the random state after this block, whatever it seeds or draws."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def rng_snapshot(device: torch.device) -> Callable[[], None]:
    """Save the random state; calling the result restores it, so that the same numbers follow."""
    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)

    return rewind
