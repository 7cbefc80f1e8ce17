"""A base in four bits: NF4 with double quantisation, computed by bitsandbytes.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs". Each weight of the linear
layers, except the head's, is one of 16 values, which are quantiles of a normal distribution, times
a scale per 64 weights; scales are stored in 8 bits. The model is quantised while it is loaded, from
the same files, so that the base keeps its digest and an adapter fits it, quantised or not.
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
_REARRANGES = "support_avx512bf16_for_cpu"  # the flag in bitsandbytes


def quantisation(kind: str | None, dtype: torch.dtype, left: Sequence[str] = ()) -> Any:
    """A `quantization_config` for `from_pretrained`, with matrix products in `dtype`.

    `left` are paths of modules to leave unquantised; if empty, that is the head. None if `kind` is
    None. Raises InputError for an unknown kind, and if bitsandbytes is missing.
    """
    if kind is None:
        return None
    if kind not in (*get_args(Quantised), "fp4"):  # some checkpoints are stored in FP4
        raise unknown("quantisation", kind, get_args(Quantised), "model.quantise")
    need_bitsandbytes("model.quantise: nf4")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(left) or None,  # despite its name, for four bits too
    )


def need_bitsandbytes(what: str) -> None:
    """Raise InputError, with the command that installs it, if bitsandbytes is missing."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"{what} needs bitsandbytes, which is not installed; "
            "run: pip install 'brulee[quantised]'"
        )


def keep_values(model: nn.Module) -> None:
    """Make the quantised layers of a model keep the values with which they were loaded.

    On a CPU with bfloat16 instructions, bitsandbytes repacks a layer when it first infers and
    rounds the scales again when packing and unpacking: the scores before training would be of
    another model than the one trained. On a CPU it also unpacks rows whose length is not a multiple
    of the block size wrongly (bitsandbytes 0.50.2); such layers are computed here.
    """
    for module in model.modules():
        if hasattr(module, _REARRANGES):
            setattr(module, _REARRANGES, False)
        if is_misread(getattr(module, "weight", None)):
            module.forward = MethodType(_multiply, module)


def is_misread(weight: Any) -> bool:
    """Whether a weight is in four bits and of a shape that bitsandbytes unpacks wrongly."""
    if not in_four_bits(weight) or weight.device.type != "cpu":
        return False
    return bool(weight.quant_state.shape[-1] % _BLOCK)


def _multiply(module: Any, x: torch.Tensor) -> torch.Tensor:
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return F.linear(x, unpacked(module.weight, x.dtype), bias)


def in_four_bits(weight: object) -> bool:
    """Whether a weight is quantised to four bits by bitsandbytes."""
    return getattr(weight, "quant_state", None) is not None


def unpacked(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The dequantised values (O, I) of a four-bit weight."""
    from bitsandbytes.functional import dequantize_4bit

    held: Any = weight
    state = held.quant_state
    if is_misread(weight):  # unpack it as one row, which bitsandbytes does correctly
        state = copy.copy(state)
        state.shape = torch.Size((1, state.shape.numel()))
    values: torch.Tensor = dequantize_4bit(weight.data, state)
    return values.view(held.quant_state.shape).to(dtype)


def parameter_count(model: nn.Module) -> int:
    """The number of values in a model's parameters, counting four-bit ones as unpacked."""
    return sum(value_count(parameter) for parameter in model.parameters())


def value_count(parameter: torch.Tensor) -> int:
    """The number of values in a parameter; four-bit ones are stored two to a byte."""
    state: Any = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else torch.Size(state.shape).numel()


def held_bytes(model: nn.Module, rest: torch.dtype | None = None) -> int:
    """Bytes of a model's parameters in memory, including the scales of quantised ones.

    Parameters that are not quantised count as if they were in `rest`, if it is given.
    """
    return sum(_bytes(parameter, rest) for parameter in model.parameters())


def _bytes(parameter: torch.Tensor, rest: torch.dtype | None) -> int:
    state: Any = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.numel() * (rest or parameter.dtype).itemsize
    size = parameter.numel() * parameter.element_size()
    scales: list[torch.Tensor] = [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return size + sum(scale.numel() * scale.element_size() for scale in scales)
