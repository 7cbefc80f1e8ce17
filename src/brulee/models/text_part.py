"""The text part of a multimodal model: the modules that text passes through.

    whole    Gemma 3 as released: vision tower, projector, language model, head
    part     language model and head, which read and generate text

Modules outside the part ("beside" it) get no gradient from text, and no method is attached to them.
They are found by structure: transformers says which modules are the language model, the encoder and
the head, and every module that neither is inside one of these nor contains one is outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
)

from brulee.errors import InputError
from brulee.models.allocator import is_exhaustion
from brulee.models.reading_files import reason
from brulee.models.taken_weights import taken_weights

_TRIED = 3  # tokens


def auto_class(config: PretrainedConfig) -> Any:
    """The transformers class that loads a model of this configuration.

    A multimodal checkpoint is loaded whole, so that the tuned or merged model keeps its class,
    unless its configuration names another one.
    """
    return classes_of(config)[0]


def reading_text(
    config: PretrainedConfig, load: Callable[[Any], PreTrainedModel], name: str
) -> PreTrainedModel:
    """Load the model by the first transformers class with which it can read text alone.

    `load` makes the model from a class. If the whole model cannot read text alone (Llama 4 in
    transformers 5.24), only its text part is loaded. Raises InputError, with the model's `name`, if
    that has no class.
    """
    for auto in classes_of(config):
        model = load(auto)
        why = _unread(model) if _has_parts(model) else None
        if why is None:
            return model
    raise InputError(
        f"{name}: a {type(model).__name__} of transformers reads no text by itself, and only text "
        f"is trained on here: {why}"
    )


def classes_of(config: PretrainedConfig) -> list[Any]:
    """The classes for a model of this configuration, the preferred one first.

    Some that read speech, but write as causal models do, are listed among the encoder-decoders
    alone (Audio Flamingo 3), and some encoder-decoders among the multimodal ones (Florence 2).
    """
    text = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    whole = MODEL_FOR_MULTIMODAL_LM_MAPPING.get(type(config), None)
    pair = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING.get(type(config), None)
    if config.is_encoder_decoder:
        return [AutoModelForSeq2SeqLM if whole is None or pair else AutoModelForMultimodalLM]
    if pair and text is whole is None:
        return [AutoModelForSeq2SeqLM]
    if whole is None or (text is not None and whole.__name__ not in (config.architectures or ())):
        return [AutoModelForCausalLM]
    return [AutoModelForMultimodalLM, *([] if text in (None, whole) else [AutoModelForCausalLM])]


@torch.no_grad()
def _unread(model: PreTrainedModel) -> str | None:
    """Why the model cannot read text alone; None if it can."""
    ids = torch.ones(1, _TRIED, dtype=torch.long, device=model.device)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    try:
        found = model(input_ids=ids, use_cache=False, **more)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as failure:
        if is_exhaustion(failure):
            raise
        return reason(failure)
    logits = getattr(found, "logits", None)
    if isinstance(logits, torch.Tensor) and logits.shape[:2] == (1, _TRIED):
        return None
    return "it gives no logits for each token"


def text_body(model: PreTrainedModel) -> nn.Module:
    """The module whose last hidden states the head reads; the language model if multimodal."""
    return model.get_decoder() if _has_parts(model) else body_with_inputs(model)


def body_with_inputs(model: PreTrainedModel) -> nn.Module:
    """The module that turns a model's inputs into hidden states; the model itself if unknown.

    transformers takes Llama 4's text class for its own base, so the base is looked for in it.
    """
    base: nn.Module = model.base_model
    inside = [m for m in model.children() if isinstance(m, PreTrainedModel)]
    return inside[0] if base is model and len(inside) == 1 else base


def text_class(model: PreTrainedModel) -> Any:
    """The class of a model that is only the text part, from the text configuration.

    Some such classes are listed as multimodal themselves (Mistral 4). Raises TypeError if
    transformers has none.
    """
    if not _has_parts(model):
        return type(model)
    listed = (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING)
    kind = type(model.config.get_text_config())
    found = next((each[kind] for each in listed if kind in each), None)
    if found is None:
        raise TypeError(f"no class of the text part of {type(model).__name__}")
    return found


def entrance(model: PreTrainedModel) -> nn.Module:
    """The module that takes a decoder's ids, positions, mask and cache.

    In a multimodal model, the one that creates the masks of each layer type.
    """
    of_parts = _has_parts(model) and not model.config.is_encoder_decoder
    found: nn.Module = model.base_model if of_parts else model.get_decoder()
    # ModernBERT's decoder has its head where others have their decoder.
    unlike = found is model or found is model.get_output_embeddings()
    return body_with_inputs(model) if unlike else found


def text_modules(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Every module that text passes through, with its path, in the model's order."""
    beside = paths_beside(model)
    return ((n, m) for n, m in model.named_modules() if not f"{n}.".startswith(beside))


def left_whole(config: PretrainedConfig) -> list[str]:
    """Paths of the modules not to quantise; [] if those are what transformers leaves itself.

    Modules outside the text part are not trained, and keep their exact values in a merge; some
    weights are taken as they are stored (taken_weights.py).
    """
    with torch.device("meta"):
        model = auto_class(config).from_config(config)
    beside = [prefix.removesuffix(".") for prefix in paths_beside(model)]
    own = [*beside, *taken_weights(model)]
    # As transformers does by itself: the head, and what is tied to another module.
    head, names = model.get_output_embeddings(), Counter[int]()
    named = list(model.named_parameters(remove_duplicate=False))
    names.update(id(parameter) for _, parameter in named)
    tied = [n.removesuffix(".weight") for n, p in named if names[id(p)] > 1]
    return [*own, *(n for n, m in model.named_modules() if m is head), *tied] if own else []


def beside_text(model: PreTrainedModel) -> frozenset[str]:
    """Names of the parameters that text does not pass through; empty for most models."""
    beside = paths_beside(model)
    return frozenset(n for n, _ in model.named_parameters() if f"{n}.".startswith(beside))


def paths_beside(model: PreTrainedModel) -> tuple[str, ...]:
    """Path prefixes of all modules and parameters outside the text part, each ending in a dot.

    Empty for most models, which have no other part.
    """
    if not _has_parts(model):
        return ()
    kept = {id(model.get_output_embeddings()), id(model.get_decoder())}
    if model.config.is_encoder_decoder:
        kept.add(id(model.get_encoder().get_decoder()))  # the text part of a multimodal encoder
    return tuple(_outside(model, "", kept))


def _has_parts(model: PreTrainedModel) -> bool:
    """Whether transformers lists the model's class as multimodal, or as one of speech."""
    whole = MODEL_FOR_MULTIMODAL_LM_MAPPING.get(type(model.config), None)
    if whole is None and not model.config.is_encoder_decoder:
        whole = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING.get(type(model.config), None)
    return whole is not None and isinstance(model, whole)


def _outside(module: nn.Module, path: str, kept: set[int]) -> Iterator[str]:
    for name in module._parameters:
        yield f"{path}{name}."
    for name, child in module.named_children():
        if id(child) in kept:
            continue
        if any(id(inner) in kept for inner in child.modules()):
            yield from _outside(child, f"{path}{name}.", kept)
        else:
            yield f"{path}{name}."
