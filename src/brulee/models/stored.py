"""Checkpoints whose weights are stored quantised, and what loading makes of each kind.

Four bits of bitsandbytes stay as they are, because LoRA trains over them (Dettmers et al. 2023).
Other kinds either compute in a way that cannot be trained through or have their fast products on
few GPUs only: the weights that they stand for are unpacked while they are loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import PretrainedConfig, PreTrainedModel

from brulee.errors import InputError
from brulee.models.quantising import in_four_bits, need_bitsandbytes

# What transformers' configuration says to unpack a kind while loading it.
_UNPACKED: Final[dict[str, dict[str, Any]]] = {
    "fp8": {"dequantize": True},
    "mxfp4": {"dequantize": True},
}
_CALLED: Final = {"fp8": "FP8", "mxfp4": "MXFP4", "int8": "eight bits"}


@dataclass(frozen=True)
class Stored:
    """How weights are stored: `kind` is "nf4", "fp4", "int8", "fp8" or "mxfp4"."""

    kind: str

    @property
    def stays(self) -> bool:
        """Whether the weights are held as they are stored."""
        return self.kind in ("nf4", "fp4")

    @property
    def called(self) -> str:
        """The kind, in a sentence."""
        return _CALLED.get(self.kind, self.kind.upper())


def stored_as(config: PretrainedConfig, name: str) -> Stored | None:
    """How a checkpoint says that its weights are stored; None if they are not quantised.

    Raises InputError, with the model's name, for a kind that is not read.
    """
    given = getattr(config, "quantization_config", None)
    if given is None:
        return None
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else given.to_dict()
    method = str(getattr(said.get("quant_method"), "value", said.get("quant_method")))
    if method in _UNPACKED:
        return Stored(method)
    if method == "bitsandbytes" or said.get("load_in_4bit") or said.get("load_in_8bit"):
        return Stored("int8" if said.get("load_in_8bit") else str(said["bnb_4bit_quant_type"]))
    raise InputError(
        f"{name}: its weights are stored quantised by {method!r} (quantization_config in its "
        "config.json), which is not read; name the model that it was made from. Valid: weights "
        "that are not quantised, or in bitsandbytes' four or eight bits, FP8 or MXFP4."
    )


def loading_of(
    stored: Stored, config: PretrainedConfig, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Arguments of `from_pretrained` for such weights; changes `config` to say how to load them.

    Raises InputError if bitsandbytes is needed and missing.
    """
    if stored.kind in _UNPACKED:
        more = _UNPACKED[stored.kind]
    else:
        need_bitsandbytes(f"a model stored in {stored.called}")
        more = {"bnb_4bit_compute_dtype": str(dtype).removeprefix("torch.")}
    held = config.quantization_config
    config.quantization_config = {**(held if isinstance(held, Mapping) else held.to_dict()), **more}
    return {"device_map": {"": device}} if stored.kind not in _UNPACKED else {}


def unquantised(config: PretrainedConfig) -> PretrainedConfig:
    """The configuration of the model that comes of unpacking such weights."""
    plain = copy.deepcopy(config)
    if hasattr(plain, "quantization_config"):
        del plain.quantization_config
    return plain


def loaded_as_asked(model: PreTrainedModel, stored: Stored, dtype: torch.dtype) -> PreTrainedModel:
    """The model with every value that is not in four bits in `dtype`, which transformers ignores.

    Without a record of a quantisation that loading has undone: it would prevent saving and merging.
    """
    if stored.kind == "int8":
        model = model.dequantize()
    if not stored.stays:
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        # Else transformers 5.17 would try to undo the unpacking when the model is saved.
        model._weight_conversions = None
    for parameter in model.parameters():
        if in_four_bits(parameter):
            parameter.quant_state.dtype = dtype
        elif parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model
