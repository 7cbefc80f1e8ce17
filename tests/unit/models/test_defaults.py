"""torch's settings are brulee's own inside of a call, and the caller's after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from brulee.models.defaults import own_defaults
from brulee.models.loading import load_base
from brulee.models.skeleton import load_shallow

cudnn_sdp_enabled = torch.backends.cuda.cudnn_sdp_enabled


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_call_has_no_attention_by_cudnn_and_its_caller_has() -> None:
    with own_defaults():
        assert not cudnn_sdp_enabled()
    assert cudnn_sdp_enabled()


def test_a_loaded_model_has_no_attention_by_cudnn(tiny_model_folder: Path) -> None:
    load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    assert not cudnn_sdp_enabled()


def test_a_model_to_be_timed_has_no_attention_by_cudnn(tiny_model_folder: Path) -> None:
    load_shallow(str(tiny_model_folder), 1, torch.float32, torch.device("cpu"))
    assert not cudnn_sdp_enabled()
