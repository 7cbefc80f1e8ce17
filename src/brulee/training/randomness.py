"""Random numbers of a stretch of work: apart from those of the process, or the same once more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch


def apart(device: torch.device) -> AbstractContextManager[None]:
    """Whatever is seeded or drawn inside this block, the process goes on as if it had not been."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def drawn_again(device: torch.device) -> Callable[[], None]:
    """What is drawn from here on is drawn once more after a call of what this returns."""
    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)

    return rewind
