"""AdamW over a method's groups, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

from brulee.errors import InputError, unknown
from brulee.methods.base import Group
from brulee.models.quantising import need_bitsandbytes

OPTIMIZERS: Final = ("adamw", "adamw8bit", "paged_adamw8bit")
SCHEDULES: Final = ("cosine", "linear", "constant")


def check_optimizer(kind: str, on_gpu: bool) -> None:
    """Raise InputError where bitsandbytes is missing that `kind` needs, for pages without a GPU.

    And for a name of none.
    """
    if kind not in OPTIMIZERS:
        raise unknown("optimizer", kind, OPTIMIZERS)
    if kind != "adamw":
        need_bitsandbytes(f"train.optimizer: {kind}")
    if kind == "paged_adamw8bit" and not on_gpu:
        raise InputError(
            f"train.optimizer: {kind} moves its state between a GPU and the CPU, and this training "
            "is not on a GPU; valid here: adamw, adamw8bit."
        )


def optimizer_of(
    kind: str,
    groups: Sequence[Group],
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) with weight decay only where a group wants it.

    `adamw` is torch's, fused. `adamw8bit` holds the moments of large parameters in 8 bits (Dettmers
    et al. 2022, "8-bit Optimizers via Block-wise Quantization"); `paged_adamw8bit` lets them move
    to the CPU's memory while a GPU has no room (Dettmers et al. 2023, QLoRA). Raises InputError
    where bitsandbytes is missing, for pages without a GPU, and for another name.
    """
    check_optimizer(kind, all(p.is_cuda for group in groups for p in group.parameters))
    settings = [
        {
            "params": list(group.parameters),
            "lr": learning_rate * group.lr_scale,
            "base_lr": learning_rate * group.lr_scale,
            "weight_decay": weight_decay if group.decay else 0.0,
        }
        for group in groups
    ]
    if kind == "adamw":
        return torch.optim.AdamW(settings, lr=learning_rate, betas=betas, eps=epsilon, fused=True)
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    if kind == "adamw8bit":
        eight: torch.optim.Optimizer = AdamW8bit(
            settings, lr=learning_rate, betas=betas, eps=epsilon
        )
        return eight
    paged: torch.optim.Optimizer = PagedAdamW8bit(
        settings, lr=learning_rate, betas=betas, eps=epsilon
    )
    return paged


def schedule(kind: str, step: int, total: int, warmup: float, lowest: float = 0.0) -> float:
    """The share of the full learning rate at a 0-based step.

    Warm-up is linear over `warmup * total` steps (from 1 on: over `warmup` steps) and ends at 1;
    cosine and linear then fall towards `lowest`, reaching it one step after the last, so that no
    step is spent at zero. Raises InputError for another name.
    """
    rising = int(warmup) if warmup >= 1 else math.ceil(warmup * total)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    if kind == "cosine":
        return lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * done))
    if kind == "linear":
        return lowest + (1.0 - lowest) * (1.0 - done)
    if kind == "constant":
        return 1.0
    raise unknown("schedule", kind, SCHEDULES)


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Put `share` of each group's rate in force; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"])
