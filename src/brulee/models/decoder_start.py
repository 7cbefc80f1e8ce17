"""The decoder start token of an encoder-decoder.

Found as by transformers' `generate`: if the configuration names none, it is the BOS token (T5Gemma,
whose `_shift_right` uses it too).
"""

from __future__ import annotations

from transformers import PreTrainedModel

from brulee.errors import InputError

_KEYS = ("decoder_start_token_id", "bos_token_id")


def decoder_start(model: PreTrainedModel) -> int:
    """The id of the decoder start token. Raises InputError for a model that names none."""
    places = (model.config, model.generation_config)
    ids = (getattr(place, key, None) for key in _KEYS for place in places)
    found = next((own for own in ids if isinstance(own, int)), None)
    if found is None:
        raise InputError(
            f"{model.name_or_path or 'the model'}: its config.json has no decoder_start_token_id, "
            "so the first token of its decoder is unknown; put the id of a token there, for T5's "
            "family that of the padding token."
        )
    return found
