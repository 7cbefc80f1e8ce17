"""Which device and which number format pay on this machine."""

from __future__ import annotations

import functools
import math
import time

import torch

from brulee.errors import InputError, unknown
from brulee.progress import note

# Tokens in one forward pass. On a CPU the activations of a few hundred tokens stay in its caches,
# which is several times faster than a pass over thousands; a GPU wants all it can get. How work is
# cut into passes does not change its result.
PASS_TOKENS = {"cpu": 512, "cuda": 65_536, "mps": 8_192}
# A training pass of the fused decoder makes fewer passes over its activations, and has more to
# share between documents (docs/performance.md).
FUSED_PASS_TOKENS = {**PASS_TOKENS, "cpu": 2_560}
# In fp32, whose values take twice the memory, with nothing lost.
FUSED_PASS_TOKENS_FP32 = 1_536

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Of timing the two formats in turn: a tenth of a second in all where bfloat16 is fast, and where it
# is slower by more than _CLEAR after a few.
_ROUNDS, _FEW, _CLEAR = 12, 3, 4.0
# Times of fp32's: bfloat16 below the first pays, from the second on is worth a word.
_PAYS, _MUCH = 0.8, 2.0


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
        raise InputError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs.")
    return device


def fused_pass_tokens(device: torch.device, dtype: torch.dtype) -> int:
    """Tokens in a training pass of the fused decoder on a device, computed in `dtype`."""
    if device.type == "cpu" and dtype == torch.float32:
        return FUSED_PASS_TOKENS_FP32
    return FUSED_PASS_TOKENS[device.type]


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What `precision` names; "auto" takes bfloat16 where its products are faster than fp32's.

    Says where bfloat16 was asked for and is much slower. Raises InputError for a name that is none
    of these.
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
    """The time of a bfloat16 product on this CPU, of that of one in fp32.

    Timed, not looked up: without AVX512-BF16 or AMX it is several times as long. The formats take
    turns and the best of many rounds counts, so that what else the machine does for a moment cannot
    decide how a whole run is computed; few rounds will do where nothing of the kind could.
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
