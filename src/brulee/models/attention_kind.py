"""Which of transformers' attentions a model is computed with, where only one of them is right.

Some releases hand scores that are capped, or have a bias for each distance, to an attention that
leaves that out or misreads it, without a word: in 5.17, Gemma 2's cap and umT5's biases under
"sdpa". Caps are left to the model's own ("eager") attention, as later releases do. Biases, which
others compute rightly and faster, are tried.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.models.decoder_start import decoder_start
from brulee.progress import note

_CAP, _BIAS = "attn_logit_softcapping", "relative_attention_bias"
_TOKENS = 12
_NEAR = 1e-2  # relative: more than rounding in bfloat16, less than a part that is missing


@torch.no_grad()
def settle_attention(model: PreTrainedModel) -> str:
    """Make a model use its own attention if the one that it has would compute another thing.

    Returns the one that it now uses.
    """
    chosen = str(model.config._attn_implementation)
    if chosen != "eager" and _has(model, _CAP):
        attend_as(model, "eager")
    elif chosen != "eager" and _has(model, _BIAS):
        _try(model, chosen)
    return str(model.config._attn_implementation)


def _try(model: PreTrainedModel, chosen: str) -> None:
    found = _logits(model)
    attend_as(model, "eager")
    expected = _logits(model)
    if float((found - expected).norm()) <= _NEAR * float(expected.norm()):
        attend_as(model, chosen)
        return
    note(f"attention is computed by transformers' eager code: its {chosen} is wrong for this model")


def _has(model: PreTrainedModel, name: str) -> bool:
    return any(getattr(module, name, None) is not None for module in model.modules())


def attend_as(model: PreTrainedModel, kind: str) -> None:
    """Make every part of a model use this attention."""
    # Not `set_attn_implementation`, which leaves out an encoder-decoder's stacks in 5.17.
    for config, _ in attention_of_parts(model):
        config._attn_implementation = kind


def attention_of_parts(model: PreTrainedModel) -> list[tuple[Any, str]]:
    """The configurations of a model's parts, the whole one first, each with its attention.

    A tower may have another one than the model that it is in (VibeVoice ASR's takes only "eager").
    """
    found: dict[int, tuple[Any, str]] = {}
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        kind = getattr(config, "_attn_implementation", None)
        if kind is not None:
            found[id(config)] = config, str(kind)
    return list(found.values())


def attend_as_before(parts: list[tuple[Any, str]]) -> None:
    """Give each part the attention that it had (`attention_of_parts`)."""
    for config, kind in parts:
        config._attn_implementation = kind


def _logits(model: PreTrainedModel) -> torch.Tensor:
    """Logits of a few tokens, in fp32."""
    high = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(_TOKENS, device=model.device)[None] * 7 % high
    more = {}
    if model.config.is_encoder_decoder:
        start = torch.tensor([decoder_start(model)], device=model.device)
        more["decoder_input_ids"] = torch.cat([start, ids], dim=1)
    logits: torch.Tensor = model(input_ids=ids, use_cache=False, **more).logits
    return logits.float()
