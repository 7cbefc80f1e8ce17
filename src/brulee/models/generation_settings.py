"""What a model's own `generation_config.json` says of its answers.

How tokens are drawn is a recipe's choice; where an answer ends and what it cannot contain is a
property of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from transformers import PreTrainedModel

from brulee.errors import InputError

# With these, `generate` writes something else than a greedy answer, except at these values.
_CHANGING: Final[Mapping[str, Any]] = {
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": 0,
    "guidance_scale": 1.0,
    "begin_suppress_tokens": [],
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "stop_strings": None,
    "watermarking_config": None,
}


def own_stops(model: PreTrainedModel) -> list[int]:
    """The tokens that end an answer. Raises InputError for what is no token's id."""
    named = getattr(model.generation_config, "eos_token_id", None)
    found = [named] if isinstance(named, int) else named or []
    return _ids(model, "eos_token_id", found)


def own_way(model: PreTrainedModel) -> dict[str, Any]:
    """The settings by which `generate`, without sampling, writes other than greedy answers."""
    settings = model.generation_config
    found = {key: getattr(settings, key, None) for key in _CHANGING}
    return {k: v for k, v in found.items() if v is not None and v != _CHANGING[k]}


def own_barred(model: PreTrainedModel) -> list[int]:
    """The tokens that an answer never contains (`suppress_tokens`; `bad_words_ids` of one token).

    Marian's weights were converted with a token for padding whose logit is always 0, more than that
    of any word where none is likely. Raises InputError for what is no token's id.
    """
    settings = model.generation_config
    found = _ids(model, "suppress_tokens", getattr(settings, "suppress_tokens", None) or [])
    words = getattr(settings, "bad_words_ids", None) or []
    for word in words if isinstance(words, list) else [words]:
        ids = _ids(model, "bad_words_ids", word)
        found += ids if len(ids) == 1 else []
    if not found:
        return []
    own = model.config.get_text_config(decoder=True)
    size = getattr(own, "decoder_vocab_size", None) or own.vocab_size
    return [token for token in found if 0 <= token < size]


def _ids(model: PreTrainedModel, key: str, found: Any) -> list[int]:
    if isinstance(found, list | tuple) and all(isinstance(token, int) for token in found):
        return list(found)
    valid = "a list of lists of ids" if key == "bad_words_ids" else "a list of ids"
    raise InputError(
        f"{model.name_or_path}: {key} of its generation_config.json has {found!r}; valid: the ids "
        f"of tokens, as {valid}."
    )
