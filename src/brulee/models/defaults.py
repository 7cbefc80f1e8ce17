"""torch's global settings as brulee needs them, whatever the calling process has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_defaults() -> Iterator[None]:
    """Gradients on, new tensors in float32 on the CPU, no autocast inside this block.

    A notebook may have disabled gradients or set the default dtype to float64; training would fail
    or give other weights.
    """
    with ExitStack() as inside:
        inside.enter_context(torch.inference_mode(False))
        inside.enter_context(torch.enable_grad())
        inside.enter_context(_float32())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                inside.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            inside.enter_context(torch.device("cpu"))
        yield


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
