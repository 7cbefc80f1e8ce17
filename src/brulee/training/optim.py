"""AdamW over a method's groups, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from brulee.methods.base import Group


def adamw(groups: Sequence[Group], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused, with weight decay only where a group wants it."""
    return torch.optim.AdamW(
        [
            {
                "params": list(group.parameters),
                "lr": learning_rate * group.lr_scale,
                "base_lr": learning_rate * group.lr_scale,
                "weight_decay": weight_decay if group.decay else 0.0,
            }
            for group in groups
        ],
        lr=learning_rate,
        fused=True,
    )


def schedule(kind: str, step: int, total: int, warmup: float) -> float:
    """The share of the full learning rate at a 0-based step.

    Warm-up is linear over `warmup * total` steps and ends at 1; cosine and linear then fall
    towards 0, reaching it one step after the last, so that no step is spent at zero.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if kind == "linear":
        return 1.0 - done
    return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Put `share` of each group's rate in force; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"])
