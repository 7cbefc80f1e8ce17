"""What each method would train on a model, and its costs, without loading the model's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError, unknown
from brulee.methods import METHODS, build_method, unknown_method
from brulee.methods.alongside import NOTHING, Alongside
from brulee.methods.base import Attached, Method, left_out
from brulee.models.quantising import parameter_count
from brulee.recipe import MethodSpec, Source

# The methods that can train a single weight matrix on its own.
ON_ONE_MAP = ("full", "lora")

_TYPES = {
    torch.float32: "F32",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Count:
    """The costs of one method; `refusal` says why it cannot be used on the model, if so.

    `share` is relative to the base's parameters; `tensors` are the shapes of what is stored,
    `trained` those of what is trained. Gradients and AdamW's state are those of the trained
    parameters, in fp32.
    """

    method: str
    label: str
    trainable: int = 0
    share: float = 0.0
    stored_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    tensors: Mapping[str, tuple[int, ...]] | None = None
    trained: tuple[tuple[int, ...], ...] = ()
    refusal: str | None = None


def count(
    make: Callable[[], PreTrainedModel],
    options: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    own: MethodSpec | None = None,
    alongside: Alongside = NOTHING,
) -> list[Count]:
    """Count several methods, by default all, each on a new model from `make`.

    Each method uses those of `options` that it has; the method of `own` starts from the options
    given there. `alongside` is what adapters train besides. Raises InputError for an unknown
    method, an option that no method has, and an invalid value.
    """
    names = tuple(METHODS) if names is None else names
    for name in names:
        if name not in METHODS:
            raise unknown_method(name)
    known = {name: set(METHODS[name].Options.model_fields) for name in names}
    for option in options or {}:
        if not any(option in fields for fields in known.values()):
            raise unknown("option", option, set().union(*known.values()), f"--set {option}")
    first = {} if own is None else {own.name: own.options()}
    return [
        _count(
            make(), name, {**first.get(name, {}), **_known(options or {}, known[name])}, alongside
        )
        for name in names
    ]


def file_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """The size of a safetensors file of these tensors, as an adapter is stored."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    # safetensors' order: wide types first, then by name.
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + end


def _known(options: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in known}


def _count(
    model: PreTrainedModel, name: str, options: Mapping[str, Any], alongside: Alongside
) -> Count:
    source = Source(f"method {name}", {}, None)
    source.overridden = {("method", option): option for option in options}
    method = build_method(MethodSpec.model_validate({"name": name, **options}), source)
    total = parameter_count(model)
    try:
        attached = _attach(method, model, alongside)
    except InputError as error:
        return Count(name, method.label(), refusal=str(error))
    trained = attached.parameters()
    tensors = _whole(model) if method.stores_model else attached.tensors()
    held = sum(p.numel() * p.element_size() for p in trained)
    return Count(
        method=name,
        label=method.label(),
        trainable=attached.trainable(),
        share=attached.trainable() / total,
        stored_bytes=file_bytes(tensors),
        gradient_bytes=held,
        # Two moments for every value, and a step counter for every tensor.
        optimizer_bytes=2 * held + 4 * len(trained),
        tensors={key: tuple(tensor.shape) for key, tensor in tensors.items()},
        trained=tuple(tuple(parameter.shape) for parameter in trained),
    )


def _whole(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The contents of a saved model: including buffers, shared tensors once."""
    fixed = left_out(model)
    held = {name: tensor for name, tensor in model.state_dict().items() if name not in fixed}
    by_place = {tensor.data_ptr(): (name, tensor) for name, tensor in held.items()}
    return dict(by_place.values())


def _attach(method: Method, model: PreTrainedModel, alongside: Alongside) -> Attached:
    if method.documents():
        # The counts do not depend on which values a mask selects.
        method.adopt(method.prepare(model, [torch.zeros((), requires_grad=True)]))
    # Nor do they depend on a soft prompt's initial text, so no tokenizer is loaded.
    method.instruct(cast(PreTrainedTokenizerBase, _one_token), "")
    return method.attach(model) if method.stores_model else alongside.attach(method, model)


def _one_token(text: str, add_special_tokens: bool) -> dict[str, list[int]]:  # noqa: ARG001
    return {"input_ids": [0]}
