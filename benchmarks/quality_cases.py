"""The methods of the quality study, most valuable first.

Each has the learning rate that the probes of quality.py found for the study's few steps; several
epochs need a lower one. The base is held in bfloat16 if the method freezes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One row of the table: a method, its options and learning rate, the base's quantisation."""

    name: str
    method: str
    learning_rate: float
    options: dict[str, Any] = field(default_factory=dict)
    quantise: str | None = None
    rank: int | None = None  # for the rank study
    longer: int = 1  # multiple of the study's steps
    writes: bool = True  # generate and score summaries; if False, measure only the loss


def lora(name: str, learning_rate: float = 2e-3, rank: int = 8, **options: Any) -> Case:
    """LoRA with scale alpha / rank = 2 at every rank."""
    studied = rank if name == f"LoRA r{rank}, all linear" else None
    options = {"rank": rank, "alpha": 2.0 * rank, **options}
    return Case(name, "lora", learning_rate, options, rank=studied)


def selective(name: str, learning_rate: float, **options: Any) -> Case:
    """Selective tuning: a subset of the base's own weights."""
    return Case(name, "selective", learning_rate, options)


RANKS = (1, 2, 4, 16, 32, 64)  # in addition to 8
CASES: tuple[Case, ...] = (
    Case("full", "full", 1e-4),
    lora("LoRA r8, all linear"),
    selective("norms", 5e-3, train="norms"),
    Case("prompt, 20 tokens", "prompt", 3e-2, {"tokens": 20}, longer=4),
    *(lora(f"LoRA r{rank}, all linear", rank=rank) for rank in RANKS),
    selective("last 4 layers", 1e-3, train="layers", layers={"last": 4}),
    Case("IA3", "ia3", 1e-2),
    Case("Houlsby", "bottleneck", 1e-3, {"kind": "houlsby"}),
    Case("Pfeiffer", "bottleneck", 1e-3, {"kind": "pfeiffer"}),
    Case("parallel", "bottleneck", 3e-3, {"kind": "parallel"}),
    Case("prefix, 20 tokens", "prefix", 3e-2, {"tokens": 20}),
    Case("QLoRA r8", "lora", 2e-3, {"rank": 8, "alpha": 16.0}, quantise="nf4"),
    lora("LoRA r16, q and v", rank=16, target=["q_proj", "v_proj"]),
    lora("DoRA r8", dora=True),
    lora("rsLoRA r8", rslora=True),
    lora("PiSSA r8", learning_rate=5e-4, init="pissa"),
    lora("LoRA+ r8", learning_rate=5e-4, plus_ratio=16.0),
    selective("Fisher mask 0.5%", 1e-3, train="sparse", mask="fisher", documents=16),
    selective("magnitude mask 0.5%", 3e-3, train="sparse", mask="magnitude"),
    selective("SAM mask 0.5%", 1e-3, train="sparse", mask="sam", documents=16),
    selective("embeddings", 1e-3, train="embeddings"),
    selective("biases (BitFit)", 1e-2, train="bias"),
)
