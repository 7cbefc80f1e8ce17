"""What memory is reported, and what asking for it costs."""

from __future__ import annotations

import pytest
import torch

from brulee.training.memory import current_bytes, peak_bytes


def test_a_gpus_memory_is_read_without_sorting_all_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `torch.cuda.memory_stats` does, in every step."""
    stats = {"allocated_bytes": {"all": {"current": 3, "peak": 5}, "small_pool": {}}}
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda _: stats)
    device = torch.device("cuda", 0)
    assert (current_bytes(device), peak_bytes(device)) == (3, 5)
