"""What is trained and never gets a gradient is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brulee.training.trainer import Trainer
from brulee.training.untouched import Untouched

Make = Callable[..., Trainer]


def _events(folder: Path, kind: str) -> list[dict[str, Any]]:
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == kind]


def test_a_module_that_is_never_called_is_told_once(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer("mamba", options={"target": "all-linear"})
    trainer.train()
    (event,) = _events(tmp_path, "no_gradient")
    assert event["step"] == trainer.course.per_epoch
    assert "of 12 trained tensors had no gradient yet: " in event["reason"]
    assert "dt_proj.lora_A" in event["reason"]


@pytest.mark.parametrize("method", ["lora", "full", "prompt", "bottleneck"])
def test_nothing_is_told_where_everything_is_trained(
    make_trainer: Make, tmp_path: Path, method: str
) -> None:
    make_trainer(method=method, epochs=1.0).train()
    assert _events(tmp_path, "no_gradient") == []


def test_it_is_enough_to_have_had_a_gradient_once() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].bias.requires_grad_(False)
    untouched = Untouched(model)
    model[0](torch.ones(2)).sum().backward()
    untouched.look()
    model.zero_grad()
    untouched.look()
    assert untouched.told() == "1 of 3 trained tensors had no gradient yet: 1.weight"
    assert untouched.told() is None
