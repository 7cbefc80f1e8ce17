"""torch's global settings as brulee needs them, whatever the calling process has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


def without_cudnn_attention() -> None:
    """Have torch compute attention without cuDNN, in the whole process.

    From 2.11 on, torch prefers cuDNN for half precision on Hopper and Blackwell GPUs. cuDNN
    prepares every new combination of sizes for about half a second, and each document and each
    token of padded rows has sizes of its own. It has no gradient of a bias, as T5 needs, and in
    some sizes a gradient under a mask is NaN (https://github.com/pytorch/pytorch/issues/196678).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextmanager
def own_defaults() -> Iterator[None]:
    """Gradients on, new tensors in float32 on the CPU, no autocast, no attention by cuDNN.

    A notebook may have disabled gradients or set the default dtype to float64; training would fail
    or give other weights. What was set before is restored after the block.
    """
    with ExitStack() as inside:
        by_cudnn = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        inside.callback(torch.backends.cuda.enable_cudnn_sdp, by_cudnn)
        without_cudnn_attention()
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
