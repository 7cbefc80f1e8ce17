"""Choose the device and the number format, by what is fast on this machine."""

from __future__ import annotations

import functools
import math
import time

import torch

from brulee.errors import InputError, unknown
from brulee.progress import note

# Tokens in one forward pass. On a CPU the activations of a few hundred tokens stay in cache, which
# is several times faster than a pass over thousands; a GPU needs as many as possible. How the work
# is split into passes does not change the result.
PASS_TOKENS = {"cpu": 512, "cuda": 65_536, "mps": 8_192}
# The fused decoder reads its activations fewer times in a training pass, and a larger pass shares
# more between documents (docs/performance.md).
FUSED_PASS_TOKENS = {**PASS_TOKENS, "cpu": 2_560}
# In fp32, whose values take twice the memory; this costs no speed.
FUSED_PASS_TOKENS_FP32 = 1_536

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Rounds of timing both formats in turn, a tenth of a second in all if bfloat16 is fast. If it is
# slower by more than _CLEAR times after _FEW rounds, the timing stops.
_ROUNDS, _FEW, _CLEAR = 12, 3, 4.0
# Multiples of fp32's time: below _PAYS bfloat16 is chosen, from _MUCH on the user is warned.
_PAYS, _MUCH = 0.8, 2.0


def pick_device(name: str) -> torch.device:
    """The device that a recipe's `train.device` names; "auto" is CUDA if available, else the CPU.

    Raises InputError for a device that this machine or this torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # torch.device accepts names that cannot run a model here, such as "meta".
    if device is None or device.type not in PASS_TOKENS:
        raise InputError(f"device {name!r} is not known; valid: auto, cpu, cuda, cuda:N, mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {name!r}: this machine or this PyTorch has none.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs.")
    return device


def fused_pass_tokens(device: torch.device, dtype: torch.dtype) -> int:
    """Tokens in a training pass of the fused decoder, by device and dtype of computation."""
    if device.type == "cpu" and dtype == torch.float32:
        return FUSED_PASS_TOKENS_FP32
    return FUSED_PASS_TOKENS[device.type]


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype that `precision` names; "auto" is bfloat16 if its products are faster than fp32's.

    Prints a note if bfloat16 was requested and is much slower. Raises InputError for an unknown
    name.
    """
    if precision in _DTYPES:
        if precision == "bfloat16" and device.type == "cpu" and _bfloat16_takes() >= _MUCH:
            note(
                f"Products in bfloat16 take at least {_bfloat16_takes():.0f} times as long as in "
                "float32 on this processor; float32 and auto are faster."
            )
        return _DTYPES[precision]
    if precision != "auto":
        raise unknown("precision", precision, ["auto", *_DTYPES])
    if device.type == "cuda":
        found = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if found else torch.float32
    return torch.bfloat16 if _bfloat16_takes() < _PAYS else torch.float32


@functools.cache
def _bfloat16_takes() -> float:
    """Time of a bfloat16 matrix product on this CPU, divided by that of one in fp32.

    Timed, not looked up: without AVX512-BF16 or AMX it is several times as long. The formats
    alternate and the best of many rounds counts, so that a short load on the machine cannot decide
    the format of a whole run; a few rounds suffice if the difference is larger than that.
    """
    operands = {
        dtype: (torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(operands, math.inf)
    for done in range(_ROUNDS):
        for dtype, (a, b) in operands.items():
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
        if done >= _FEW and best[torch.bfloat16] > _CLEAR * best[torch.float32]:
            break
    return best[torch.bfloat16] / best[torch.float32]
