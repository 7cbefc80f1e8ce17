"""Which device and which number format pay on this machine."""

from __future__ import annotations

import functools
import math
import time

import torch

from brulee.errors import InputError, unknown

# Tokens in one forward pass. On a CPU the activations of a few hundred tokens stay in its caches,
# which is several times faster than a pass over thousands; a GPU wants all it can get. How work is
# cut into passes does not change its result.
PASS_TOKENS = {"cpu": 512, "cuda": 65_536, "mps": 8_192}
# A training pass of the fused decoder makes fewer passes over its activations, and has more to
# share between documents (docs/performance.md).
FUSED_PASS_TOKENS = {**PASS_TOKENS, "cpu": 2_560}

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_ROUNDS = 12  # of timing the two formats in turn; a tenth of a second in all


def pick_device(name: str) -> torch.device:
    """The device of a recipe's `train.device`; "auto" takes CUDA where there is one.

    Raises InputError for a device that this machine or this torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # PyTorch knows names, "meta" among them, on which nothing here can run.
    if device is None or device.type not in PASS_TOKENS:
        raise InputError(f"device {name!r} is not known; valid: auto, cpu, cuda, cuda:N, mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {name!r}: this machine or this PyTorch has none.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: this machine shows {torch.cuda.device_count()} GPUs.")
    return device


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What `precision` names; "auto" takes bfloat16 where its products are faster than fp32's.

    Raises InputError for a name that is none of these.
    """
    if precision in _DTYPES:
        return _DTYPES[precision]
    if precision != "auto":
        raise unknown("precision", precision, ["auto", *_DTYPES])
    if device.type == "cuda":
        found = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if found else torch.float32
    return torch.bfloat16 if _bfloat16_pays_on_cpu() else torch.float32


@functools.cache
def _bfloat16_pays_on_cpu() -> bool:
    """Timed, not looked up: without AVX512-BF16 or AMX, bf16 is several times slower than fp32.

    The formats take turns and the best of many rounds counts, so that what else the machine does
    for a moment cannot decide how a whole run is computed.
    """
    operands = {
        dtype: (torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(operands, math.inf)
    for _ in range(_ROUNDS):
        for dtype, (a, b) in operands.items():
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.bfloat16] < 0.8 * best[torch.float32]
