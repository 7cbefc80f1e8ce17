"""What an encoder-decoder's completions start after.

Found as by transformers' `generate`: the decoder start token, or, if the configuration names none,
the BOS token (T5Gemma, whose `_shift_right` uses it too); then the token that is forced to be the
first one, if any. BART was trained with its BOS token there, and NLLB, M2M100 and mBART-50 with the
language to write in. It is given and never generated, so it is not learned either.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from brulee.errors import InputError

_KEYS = ("decoder_start_token_id", "bos_token_id")
_FORCED = ("forced_bos_token_id",)


def decoder_start(model: PreTrainedModel) -> tuple[int, ...]:
    """The ids that the decoder is given first. Raises InputError for a model that names none."""
    found = _named(model, _KEYS)
    if found is None:
        raise InputError(
            f"{model.name_or_path or 'the model'}: its config.json has no decoder_start_token_id, "
            "so the first token of its decoder is unknown; put the id of a token there, for T5's "
            "family that of the padding token."
        )
    forced = _named(model, _FORCED)
    return (found,) if forced is None else (found, forced)


def _named(model: PreTrainedModel, keys: Sequence[str]) -> int | None:
    places = (model.generation_config, model.config)
    ids = (getattr(place, key, None) for key in keys for place in places)
    return next((own for own in ids if isinstance(own, int)), None)
