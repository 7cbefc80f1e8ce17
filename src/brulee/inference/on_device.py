"""Small tensors for a device, copied without waiting for the passes that it still computes."""

from __future__ import annotations

from typing import Any

import torch


def on_device(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of numbers, or a CPU tensor, on a device.

    `torch.tensor(values, device=...)` waits until a GPU has computed all that it was given, and the
    GPU then waits for what comes next. A copy from memory that is not pinned need not be waited
    for: CUDA has read that memory when the call returns. Of MPS this is not known.
    """
    held = torch.as_tensor(values, dtype=dtype, device="cpu")
    return held.to(device, non_blocking=device.type != "mps")
