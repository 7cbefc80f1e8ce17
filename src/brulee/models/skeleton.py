"""A model of the right shapes without its weights, for counting."""

from __future__ import annotations

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from brulee.errors import InputError
from brulee.models.allocator import give_back_freed_memory, keep_freed_memory
from brulee.models.bundled import NAME, bundled_folder, cache_folder
from brulee.models.loading import looks_like_path, no_such_model
from brulee.models.quantised_experts import quantise_experts
from brulee.models.quantising import keep_values, quantisation
from brulee.models.stack_configs import stack_configs
from brulee.models.text_part import auto_class, left_whole, reading_text
from brulee.models.whole_files import check_gguf

# What the kinds of configuration call their number of layers.
_DEPTHS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


def load_skeleton(name: str, revision: str | None = None) -> PreTrainedModel:
    """The model of `bundled`, a folder, a .gguf file or a Hub id, every value zero, in fp32.

    Reads a configuration and no weights. The memory is asked for and never touched, so that it
    costs none until something is written there. Raises InputError naming what is not there.
    """
    config = _config(name, revision)
    auto = auto_class(config)
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError, ImportError) as error:
        raise InputError(f"model {name!r}: {_short(error)}") from None
    return _untouched(model).eval()


def load_shallow(
    name: str,
    layers: int,
    dtype: torch.dtype,
    device: torch.device,
    quantise: str | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """The model with its first so many layers only, and random weights: something to time.

    Held as `load_base` would hold it. Raises InputError as `load_skeleton` does.
    """
    config = copy.deepcopy(_config(name, revision))
    for stack in stack_configs(config):
        _cut(stack, layers)
    if device.type == "cpu":
        keep_freed_memory()
    model = reading_text(
        config, lambda auto: auto.from_config(config, dtype=dtype).eval(), f"model {name!r}"
    )
    if quantise is not None:
        auto = auto_class(model.config)
        # bitsandbytes is reached through loading, so that is what is done.
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            how = quantisation(quantise, dtype, left_whole(config))
            model = auto.from_pretrained(
                folder, dtype=dtype, quantization_config=how, device_map={"": device}
            )
        keep_values(model)
        quantise_experts(model, quantise, dtype, name)
    model = model.to(device).eval()
    if device.type == "cpu":
        give_back_freed_memory()
    return model


def depth(name: str, revision: str | None = None) -> int:
    """How many layers a model has; of an encoder and a decoder, those of the deeper."""
    stacks = stack_configs(_config(name, revision))
    return max(getattr(stack, key, None) or 0 for stack in stacks for key in _DEPTHS)


def _cut(stack: PretrainedConfig, layers: int) -> None:
    """Leave a configuration so many layers, and as many entries of what it says of each."""
    depths = {key: own for key in _DEPTHS if (own := getattr(stack, key, None)) is not None}
    # What is worked out of others (Bamba's kinds of layers) follows by itself.
    for key, value in {**vars(stack)}.items():
        if isinstance(value, list) and len(value) in depths.values():
            setattr(stack, key, value[:layers])
    for key, own in depths.items():
        if getattr(stack, key) == own:  # a number that is worked out of a list is right by now
            setattr(stack, key, min(layers, own))


class OneMap(nn.Module):
    """A model that is a single linear map of (outputs, inputs)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.config = PretrainedConfig(is_encoder_decoder=False)
        self.map = nn.Linear(inputs, outputs, bias=False)

    def get_input_embeddings(self) -> None:
        """There are none."""

    def get_output_embeddings(self) -> None:
        """There is no head."""


def one_map(outputs: int, inputs: int) -> PreTrainedModel:
    """A model whose only weight has this shape, its values never touched."""
    with torch.device("meta"):
        model = OneMap(outputs, inputs)
    return _untouched(model)


def _untouched(model: PreTrainedModel) -> PreTrainedModel:
    """Give a model on the meta device memory; what it shares it goes on sharing."""
    made: dict[int, torch.Tensor] = {}

    def real(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            # numpy asks for zeroed pages and leaves them be; torch would write to each.
            zeros = torch.from_numpy(np.zeros(tuple(tensor.shape), np.float32)).to(tensor.dtype)
            made[id(tensor)] = nn.Parameter(zeros) if isinstance(tensor, nn.Parameter) else zeros
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update({n: real(t) for n, t in held.items() if t is not None})
    return model


def _config(name: str, revision: str | None = None) -> PretrainedConfig:
    if name == "bundled":
        return _read(_bundled(), name)
    path = Path(name).expanduser()
    if path.is_file():
        check_gguf(path)
        return _read(path.parent, name, gguf_file=path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path}: not a model folder: it has no config.json.")
        return _read(path, name)
    if looks_like_path(name) or not _HUB_ID.fullmatch(name):
        raise InputError(no_such_model(path, name))
    return _read(name, name, revision=revision)


def _bundled() -> Path:
    """The converted model's folder; weights that are not read need not be checked."""
    folder = cache_folder() / "models" / NAME
    return folder if (folder / "config.json").is_file() else bundled_folder()


def _read(where: Path | str, name: str, **more: Any) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(where, **more)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"model {name!r}: its configuration cannot be read: {_short(error)}"
        ) from None
    return config


def _short(error: Exception) -> str:
    text = str(error).strip()
    # After the first line the Hub's client gives advice, and addresses that would be cut short.
    lines = text.splitlines()[:1] if isinstance(error, OSError) else [text]
    return " ".join(" ".join(lines).split())[:200] or type(error).__name__
