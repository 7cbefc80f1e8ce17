"""How much of what was read is kept."""

from __future__ import annotations

import pytest
import torch

from brulee.errors import InputError
from brulee.serving import limits
from brulee.serving.limits import Limits, kept_bytes


@pytest.mark.parametrize(
    ("asked", "free_mb", "kept_mb"),
    [(None, 1000, 250), (None, 10**6, 4096), (0, 1000, 0), (7, 1000, 7), (1000, 1000, 1000)],
)
def test_a_quarter_of_what_is_free_is_kept_or_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, free_mb: int, kept_mb: int
) -> None:
    monkeypatch.setattr(limits, "free_bytes", lambda: free_mb * 2**20)
    assert kept_bytes(asked, torch.device("cpu")) == kept_mb * 2**20
    with pytest.raises(InputError, match=rf"--cache {free_mb + 1}: only {free_mb} megabytes"):
        kept_bytes(free_mb + 1, torch.device("cpu"))


def test_a_server_keeps_what_its_limits_say() -> None:
    assert Limits(kept_bytes=5).room().kept_bytes == 5
