"""Speed and memory of a training, compared with what the machine can do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from brulee.models.kernels import language
from brulee.models.product_rate import product_rate, training_operations
from brulee.training.events import read_events
from brulee.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingSpeed:
    """The measurements of every step. Tokens exclude padding.

    `operations` are those of all counted steps (`training_operations`); `rates` is the machine's
    matrix product rate, in operations per second by dtype; `loops` says what computes norms and the
    like: "C" or "Triton" (models/kernels), or "PyTorch".
    """

    seconds: list[float]
    losses: list[float]
    grad_norms: list[float]
    tokens: list[int]
    learned: list[int]
    peak_memory_bytes: int
    operations: int
    rates: dict[str, float]
    loops: str

    @property
    def tokens_per_second(self) -> float:
        """Over all steps except the first, which warms up caches, if there are more."""
        first = min(1, len(self.seconds) - 1)
        return sum(self.tokens[first:]) / sum(self.seconds[first:])

    def share(self, dtype: str) -> float:
        """The fraction of the machine's product rate for a dtype that the steps reached."""
        per_token = self.operations / sum(self.tokens)
        return per_token * self.tokens_per_second / self.rates[dtype]

    def summary(self) -> dict[str, Any]:
        """Everything, for JSON."""
        shares = {dtype: round(self.share(dtype), 3) for dtype in self.rates}
        speed = round(self.tokens_per_second, 1)
        return {"tokens_per_second": speed, "share_of_product_rate": shares, **asdict(self)}


def measure(trainer: Trainer) -> TrainingSpeed:
    """Train to the end, after measuring the machine's product rates."""
    device = trainer.base.device
    rates = {
        str(dtype).removeprefix("torch."): product_rate(dtype, device)
        for dtype in (torch.float32, torch.bfloat16)
    }
    totals = trainer.train()
    steps = [e for e in read_events(trainer.folder / "events.jsonl") if e["event"] == "step"]
    learned = [_learned(trainer, step) for step in range(totals.steps)]
    tokens = [int(e["tokens"]) for e in steps]
    return TrainingSpeed(
        seconds=[e["seconds"] for e in steps],
        losses=[e["loss"] for e in steps],
        grad_norms=[e["grad_norm"] for e in steps],
        tokens=tokens,
        learned=learned,
        peak_memory_bytes=totals.peak_memory_bytes,
        operations=training_operations(trainer.base.model, sum(tokens), sum(learned)),
        rates=rates,
        loops=language(device) if trainer.passes.fused else "PyTorch",
    )


def _learned(trainer: Trainer, step: int) -> int:
    return sum(trainer.document(i).encoded.predicted for i in trainer.course.of(step))
