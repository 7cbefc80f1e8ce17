"""Models of the right shapes without the trained weights, for counting and timing."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from brulee.errors import InputError
from brulee.models.allocator import give_back_freed_memory, keep_freed_memory, untouched
from brulee.models.configuration import model_config
from brulee.models.defaults import without_cudnn_attention
from brulee.models.quantised_experts import quantise_experts
from brulee.models.quantising import keep_values, quantisation
from brulee.models.reading_files import reason
from brulee.models.stack_configs import stack_configs
from brulee.models.stored import stored_as, unquantised
from brulee.models.text_part import auto_class, classes_of, left_whole, reading_text

# The names of the number of layers in configurations.
_DEPTHS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)


def load_skeleton(
    name: str,
    revision: str | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    vocabulary: int = 0,
) -> PreTrainedModel:
    """The model of `bundled`, a folder, a .gguf file or a Hub id, every value zero, in fp32.

    It has rows for at least `vocabulary` tokens.
    Reads the configuration and no weights. The memory is allocated but not touched, so it takes no
    RAM until it is written to. `rope_scaling` is as in `load_base`. Raises InputError, with the
    name, if there is no such model, and for one that cannot be scaled.
    """
    config = model_config(name, revision, rope_scaling)
    _widen(config, vocabulary)
    return _without_weights(_reader(config, name), config, name)


def _without_weights(
    auto: Any, config: PretrainedConfig, name: str, real: bool = True
) -> PreTrainedModel:
    """A model of zeros, or without memory if not `real`."""
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError, ImportError) as error:
        raise InputError(f"model {name!r}: {reason(error)}") from None
    return (_untouched(model) if real else model).eval()


def _reader(config: PretrainedConfig, name: str) -> Any:
    """The class with which this model is trained; one of several parts is tried on one layer."""
    shallow, tried = copy.deepcopy(config), []
    for stack in stack_configs(shallow):
        _cut(stack, 1)

    def load(auto: Any) -> PreTrainedModel:
        tried.append(auto)
        return _without_weights(auto, shallow, name)

    if len(classes_of(config)) == 1:
        return auto_class(config)
    reading_text(shallow, load, f"model {name!r}")
    return tried[-1]


def load_shallow(
    name: str,
    layers: int,
    dtype: torch.dtype,
    device: torch.device,
    quantise: str | None = None,
    revision: str | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    vocabulary: int = 0,
) -> PreTrainedModel:
    """The model with only its first `layers` layers and random weights, for timing.

    Dtype, device, quantisation and scaling are as in `load_base`, the rest as in `load_skeleton`.
    Raises InputError as that does, and for a model of which fewer layers would not be a part, since
    some run more than once (Dory).
    """
    config = unquantised(model_config(name, revision, rope_scaling))
    _widen(config, vocabulary)
    whole = max(_layers_of(stack) for stack in stack_configs(config))
    if layers < whole and _loops(config, name):
        raise InputError(
            f"model {name!r}: some of its layers run more than once, so that only all {whole} of "
            "them can be tried."
        )
    for stack in stack_configs(config):
        _cut(stack, layers)
    if device.type == "cpu":
        keep_freed_memory()
    without_cudnn_attention()
    model = reading_text(
        config, lambda auto: auto.from_config(config, dtype=dtype).eval(), f"model {name!r}"
    )
    if quantise is not None:
        auto = auto_class(model.config)
        # transformers quantises only while loading.
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


def held_as(name: str, quantise: str | None, revision: str | None = None) -> str | None:
    """How `load_base` holds a model's linear layers: "nf4", "fp4", or None for in full.

    Raises InputError for weights that are stored in a way that is not read.
    """
    stored = stored_as(model_config(name, revision), f"model {name!r}")
    return stored.kind if stored and stored.stays else quantise


def depth(name: str, revision: str | None = None) -> int:
    """The number of layers of a model; for an encoder-decoder, of the deeper stack."""
    return max(_layers_of(stack) for stack in stack_configs(model_config(name, revision)))


def _layers_of(stack: PretrainedConfig) -> int:
    return max(getattr(stack, key, None) or 0 for key in _DEPTHS)


def _loops(config: PretrainedConfig, name: str) -> bool:
    """Whether a layer runs more than once in a pass, found by one without values.

    False if such a pass fails, as where it depends on values.
    """
    model = _without_weights(_reader(config, name), config, name, real=False)
    layers = [m for own in model.modules() if isinstance(own, nn.ModuleList) for m in own]
    called: Counter[nn.Module] = Counter()
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, _: called.update([module]))
    ids = torch.zeros(1, 2, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, 2, 2, device="meta")  # a finished one: others are made by values
    more = {"decoder_input_ids": ids} if config.is_encoder_decoder else {}
    try:
        model(input_ids=ids, attention_mask=mask, use_cache=False, **more)
    except (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    return max(called.values(), default=0) > 1


def _widen(config: PretrainedConfig, vocabulary: int) -> None:
    """Give a configuration at least so many tokens."""
    for own in {id(each): each for each in (config, *stack_configs(config))}.values():
        if getattr(own, "vocab_size", vocabulary) < vocabulary:
            own.vocab_size = vocabulary


def _cut(stack: PretrainedConfig, layers: int) -> None:
    """Reduce a configuration to so many layers, and its per-layer lists to as many entries."""
    depths = {key: own for key in _DEPTHS if (own := getattr(stack, key, None)) is not None}
    # Properties derived from other values (Bamba's layer types) follow by themselves.
    for key, value in {**vars(stack)}.items():
        if isinstance(value, list) and len(value) in depths.values():
            setattr(stack, key, value[:layers])
    for key, own in depths.items():
        if getattr(stack, key) == own:  # a number derived from a list has changed already
            setattr(stack, key, min(layers, own))


class OneMap(nn.Module):
    """A model that is a single linear layer with a weight (outputs, inputs)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.config = PretrainedConfig(is_encoder_decoder=False)
        self.map = nn.Linear(inputs, outputs, bias=False)

    def get_input_embeddings(self) -> None:
        """None: the model has no embeddings."""

    def get_output_embeddings(self) -> None:
        """None: the model has no head."""


def one_map(outputs: int, inputs: int) -> PreTrainedModel:
    """A model whose only weight has this shape and takes no RAM until it is written to."""
    with torch.device("meta"):
        model = OneMap(outputs, inputs)
    return _untouched(model)


def _untouched(model: PreTrainedModel) -> PreTrainedModel:
    """Allocate memory for a model on the meta device; tied tensors stay tied."""
    made: dict[int, torch.Tensor] = {}

    def real(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            zeros = untouched(tensor.shape, tensor.dtype)
            made[id(tensor)] = nn.Parameter(zeros) if isinstance(tensor, nn.Parameter) else zeros
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update({n: real(t) for n, t in held.items() if t is not None})
    return model
