"""A base held in four bits: NF4 with double quantisation, computed by bitsandbytes.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs". Every linear map but the head
is held as one of 16 values, spaced as a normal distribution is dense, times a scale for 64 of them;
the scales are held in 8 bits. They are made when the model is loaded, from the same files, so that
the base keeps its digest and an adapter belongs to it whether it is quantised or not.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from types import MethodType
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from brulee.errors import InputError, unknown

Quantised = Literal["nf4"]
_BLOCK = 64  # values that share a scale
_REARRANGES = "support_avx512bf16_for_cpu"  # what bitsandbytes calls the switch


def quantisation(kind: str | None, dtype: torch.dtype, left: Sequence[str] = ()) -> Any:
    """What `from_pretrained` calls a `quantization_config`, with matrix products in `dtype`.

    `left` are paths of modules that keep their precision; without any, the head does. None for no
    kind. Raises InputError for an unknown one, and where bitsandbytes is missing.
    """
    if kind is None:
        return None
    if kind not in get_args(Quantised):
        raise unknown("quantisation", kind, get_args(Quantised), "model.quantise")
    need_bitsandbytes("model.quantise: nf4")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(left) or None,  # in four bits too, whatever its name says
    )


def need_bitsandbytes(what: str) -> None:
    """Raises InputError, with the command that mends it, where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"{what} needs bitsandbytes, which is not installed; "
            "run: pip install 'brulee[quantised]'"
        )


def keep_values(model: nn.Module) -> None:
    """Have the quantised maps of a model keep the values that they were loaded with.

    On a CPU with bfloat16 instructions bitsandbytes rearranges a map the first time that it infers,
    and rounds its scales again on the way there and back: what is measured before training would
    not be the model that is trained. And on a CPU it unpacks rows that are no multiple of a block
    long as something else (bitsandbytes 0.50.2); such a map is multiplied here.
    """
    for module in model.modules():
        if hasattr(module, _REARRANGES):
            setattr(module, _REARRANGES, False)
        if is_misread(getattr(module, "weight", None)):
            module.forward = MethodType(_multiply, module)


def is_misread(weight: Any) -> bool:
    """Whether a weight is one in four bits that bitsandbytes itself unpacks as something else."""
    if not in_four_bits(weight) or weight.device.type != "cpu":
        return False
    return bool(weight.quant_state.shape[-1] % _BLOCK)


def _multiply(module: Any, x: torch.Tensor) -> torch.Tensor:
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return F.linear(x, unpacked(module.weight, x.dtype), bias)


def in_four_bits(weight: object) -> bool:
    """Whether a weight is held as bitsandbytes holds four bits, with what they stand for."""
    return getattr(weight, "quant_state", None) is not None


def unpacked(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The values (O, I) that a weight in four bits stands for, in its quantisation's own shape."""
    from bitsandbytes.functional import dequantize_4bit

    held: Any = weight
    state = held.quant_state
    if is_misread(weight):  # as one row, which is read rightly
        state = copy.copy(state)
        state.shape = torch.Size((1, state.shape.numel()))
    values: torch.Tensor = dequantize_4bit(weight.data, state)
    return values.view(held.quant_state.shape).to(dtype)


def parameter_count(model: nn.Module) -> int:
    """The number of values that a model's parameters stand for."""
    return sum(value_count(parameter) for parameter in model.parameters())


def value_count(parameter: torch.Tensor) -> int:
    """The number of values that a parameter stands for; four-bit ones lie two in a byte."""
    state: Any = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else torch.Size(state.shape).numel()


def held_bytes(model: nn.Module, rest: torch.dtype | None = None) -> int:
    """Bytes of a model's parameters in memory, with the scales of those that are quantised.

    Those that are not count as if they were held in `rest`, where it is given.
    """
    return sum(_bytes(parameter, rest) for parameter in model.parameters())


def _bytes(parameter: torch.Tensor, rest: torch.dtype | None) -> int:
    state: Any = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.numel() * (rest or parameter.dtype).itemsize
    size = parameter.numel() * parameter.element_size()
    scales: list[torch.Tensor] = [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return size + sum(scale.numel() * scale.element_size() for scale in scales)
