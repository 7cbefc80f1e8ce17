"""Random numbers of a stretch of work, drawn apart from those of the process."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def apart(device: torch.device) -> AbstractContextManager[None]:
    """Whatever is seeded or drawn inside this block, the process goes on as if it had not been."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
