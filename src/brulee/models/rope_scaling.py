"""Rotary positions scaled for longer texts than a checkpoint was trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from brulee.errors import InputError
from brulee.models.rope import angles_of
from brulee.models.stack_configs import stack_configs
from brulee.models.text_part import text_modules
from brulee.recipe.rope import Kind, RopeScaling

_KEY = "model.rope_scaling"
_FROM = "original_max_position_embeddings"
_TRIED = 4  # tokens
_PLAIN = {"rope_theta", "partial_rotary_factor"}
_REPLACED = {"type", *RopeScaling.model_fields} - _PLAIN
# Attention in these layers reaches only a few positions, of which a longer text has no more.
_NEAR = ("sliding", "chunked", "local")


def scaled(config: PretrainedConfig, scaling: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Scale the rotary positions of a configuration, in place; returns what to record.

    `scaling` has the keys of transformers' `rope_parameters` and replaces what the checkpoint has,
    except for its base frequency and the part of a head that is rotated. Without a factor, it is
    the smallest whole one at which `max_length` tokens fit. Of layers of several types, those
    scaled attend to the whole text. Raises InputError, with the model's `name`, for one without
    rotary positions that its configuration describes, and for a scaling that does not suit it.
    """
    stacks = [one for one in stack_configs(config) if getattr(one, "rope_parameters", None)]
    if not stacks:
        raise InputError(
            f"{_KEY}: {name} is a {config.model_type} model, whose configuration has no rotary "
            "positions to scale; leave the key out."
        )
    found = dict(scaling)
    for stack in stacks:
        found = _scale(stack, found, name)
    return found


def check_scaled(model: PreTrainedModel, scaling: Mapping[str, Any], name: str) -> None:
    """Raise InputError if no module of a model rotates positions as it was asked to.

    Whether what a module says is read is tried on a few tokens (Falcon's is not, with ALiBi).
    """
    kind = scaling["rope_type"]
    rotating = []
    for _, module in text_modules(model):
        own = getattr(module, "rope_type", None)
        if kind in (own.values() if isinstance(own, dict) else (own,)):
            rotating.append(module)
    if rotating and not torch.equal(*_turned_apart(model, rotating)):
        return
    raise InputError(
        f"{_KEY}: {name} does not take it: a {type(model).__name__} of transformers computes its "
        "positions otherwise; leave the key out."
    )


@torch.no_grad()
def _turned_apart(
    model: PreTrainedModel, rotating: Sequence[nn.Module]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a few tokens with a model's own angles, and with twice those of some modules."""
    ids = torch.arange(_TRIED, device=model.device).unsqueeze(0)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}

    def logits() -> torch.Tensor:
        found: torch.Tensor = model(input_ids=ids, use_cache=False, **more).logits
        return found

    with angles_of(model, _TRIED):
        before = logits()
        for module in rotating:
            for name, buffer in module._buffers.items():
                if buffer is not None and name.endswith("inv_freq"):
                    buffer.mul_(2.0)
        return before, logits()


def told_of(scaling: Mapping[str, Any] | None) -> str:
    """The end of a sentence about a model's rotary positions."""
    return (
        "as in its checkpoint"
        if scaling is None
        else f"scaled by {json.dumps(scaling, sort_keys=True)}"
    )


def check_alike(
    first: Mapping[str, Any] | None,
    second: Mapping[str, Any] | None,
    name: str,
    other: str,
) -> None:
    """Raise InputError if the positions of two, called `name` and `other`, are scaled otherwise."""
    if first != second:
        raise InputError(
            f"{name} has rotary positions {told_of(first)}, and {other} has them "
            f"{told_of(second)}: no one base computes both."
        )


def _scale(config: PretrainedConfig, scaling: dict[str, Any], name: str) -> dict[str, Any]:
    parts = {kind: p for kind, p in _parts(config).items() if not kind.startswith(_NEAR)}
    if not parts:
        raise InputError(f"{_KEY}: no layer of {name} attends to the whole text; leave it out.")
    before = next(iter(parts.values()))
    if before.get("rope_type") not in get_args(Kind):
        raise InputError(
            f"{_KEY}: {name} has rotary positions of type {before.get('rope_type')}, in place of "
            "which none of these can be put; leave the key out."
        )
    original = int(scaling.get(_FROM) or _pretrained_on(config, before))
    asked = dict(scaling)
    if (length := asked.pop("max_length", None)) is not None:
        if length <= original:
            raise InputError(
                f"{_KEY}: train.max_length = {length} fits in the {original:,} positions that "
                f"{name} was trained on; give a factor, or leave the key out."
            )
        asked["factor"] = float(math.ceil(length / original))
    kind = asked["rope_type"]
    if kind in ("yarn", "llama3", "longrope"):
        asked[_FROM] = original
        if hasattr(config, _FROM):  # it takes precedence there
            setattr(config, _FROM, original)
    for part in parts.values():
        kept = {k: v for k, v in part.items() if k not in _REPLACED}
        # Attention that scales by position (Ministral 3) reads this one too.
        more = {_FROM: original} if kept.keys() - _PLAIN and _FROM in part else {}
        part.clear()
        part.update({**kept, **more, **asked})
        _check_factors(config, part, name)
    # The angles of `dynamic` begin to change beyond the original number of positions.
    reach = 1.0 if kind == "dynamic" else asked.get("factor", 1.0)
    config.max_position_embeddings = round(original * reach)
    return asked


def _parts(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """The scaling of each type of layer; that of the whole model under ""."""
    parameters = config.rope_parameters
    if "rope_type" in parameters:
        return {"": parameters}
    return {kind: part for kind, part in parameters.items() if isinstance(part, dict)}


def _pretrained_on(config: Any, part: Mapping[str, Any]) -> float:
    """The number of positions before a checkpoint's own scaling."""
    if part.get("rope_type") in ("yarn", "llama3", "longrope") and part.get(_FROM):
        return float(part[_FROM])
    stretched = part.get("factor") if part.get("rope_type") == "linear" else None
    return float(config.max_position_embeddings) / float(stretched or 1.0)


def _check_factors(config: PretrainedConfig, part: Mapping[str, Any], name: str) -> None:
    given = [key for key in ("short_factor", "long_factor") if key in part]
    if not given:
        return
    heads = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    angles = int(heads * part.get("partial_rotary_factor", 1.0)) // 2
    for key in given:
        if len(part[key]) != angles:
            raise InputError(
                f"{_KEY}: {key} has {len(part[key])} numbers; {name} needs {angles}, one for each "
                "pair of a head's rotated values."
            )
