"""What tests of encoder-decoders in packs have in common: documents, methods, and the reference.

The reference is transformers' forward of one document at a time.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from brulee.data.batching import pack_pairs
from brulee.data.encoding import Encoded
from brulee.models import biased_attention
from brulee.models.fused_pair import FusedPair
from brulee.models.head import CompletionLoss

_FOUND = runpy.run_path(str(Path(__file__).parent / "families.py"))
gradients = _FOUND["gradients"]

METHODS: list[dict[str, Any]] = [
    {"name": "full"},
    {"name": "lora", "rank": 3, "target": "all-linear"},
    {"name": "lora", "rank": 3, "dora": True},
    {"name": "selective", "train": "norms"},
    {"name": "selective", "train": "layers", "layers": {"last": 1}},
    {"name": "bottleneck", "kind": "houlsby", "reduction": 4, "cross_attention": True},
    {"name": "bottleneck", "kind": "pfeiffer", "reduction": 4},
    {"name": "bottleneck", "kind": "parallel", "reduction": 4},
    {"name": "ia3"},
    {"name": "prompt", "tokens": 4, "init": "random"},
    {"name": "prefix", "tokens": 5},
    {"name": "selective", "train": "sparse", "mask": "magnitude", "density": 0.1},
]
PREFIX = next(method for method in METHODS if method["name"] == "prefix")
# Longer and shorter than the distances that have a bias of their own.
DOCUMENTS = [
    Encoded.ending(tuple(range(3, 33)), 11),
    Encoded.ending((40, 41, 42), 1),
    Encoded.ending(tuple(range(50, 80)), 5),
]


def packed(
    loss: CompletionLoss, start: tuple[int, ...] = (0,)
) -> tuple[float, dict[str, torch.Tensor]]:
    assert isinstance(loss.decoder, FusedPair), "another way would be tested against itself"
    total = loss(pack_pairs(DOCUMENTS, start))
    total.backward()
    return total.item(), gradients(loss.model)


def alone(
    model: PreTrainedModel, start: tuple[int, ...] = (0,)
) -> tuple[float, dict[str, torch.Tensor]]:
    total = 0.0
    for document in DOCUMENTS:
        read, shifted = ([d] for d in (document.prompt, (*start, *document.completion[:-1])))
        logits = model(
            input_ids=torch.tensor(read), decoder_input_ids=torch.tensor(shifted)
        ).logits[0, len(start) - 1 :]
        loss = F.cross_entropy(logits, torch.tensor(document.completion), reduction="sum")
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def assert_same(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for key, gradient in expected[1].items():
        # A bias of keys adds the same to all scores of a query: its gradient is only rounding.
        beside = expected[1].get(key.replace(".k_proj.bias", ".v_proj.bias"), gradient)
        off = (found[1][key] - gradient).norm() / beside.norm().clamp(min=1e-3)
        assert off < 1e-4, key


def scales_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have dropout multiply everything with what it keeps, on both ways: so places are compared."""

    def scaled(x: torch.Tensor, p: float = 0.5, training: bool = True, *_: Any) -> torch.Tensor:
        return x * (1 - p) if training else x

    def drop(
        x: torch.Tensor, share: float, _seed: int, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        return torch.mul(x, 1 - share, out=torch.empty_like(x) if into is None else into)

    monkeypatch.setattr(F, "dropout", scaled)
    monkeypatch.setattr("brulee.models.dropping.drop", drop)
    monkeypatch.setattr(biased_attention, "drop", drop)
    monkeypatch.setattr("brulee.models.fused_attention.drop", drop)
