"""A model's own settings of its answers are read, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.generation_settings import own_barred, own_stops


@pytest.mark.parametrize(
    ("settings", "stops", "barred"),
    [
        ({"eos_token_id": 2}, [2], []),
        ({"eos_token_id": [2, 4], "suppress_tokens": [], "bad_words_ids": []}, [2, 4], []),
        ({"eos_token_id": None, "suppress_tokens": [5, 300, -1]}, [], [5]),
        ({"eos_token_id": (4,), "bad_words_ids": [[7], [8, 9]]}, [4], [7]),
    ],
)
def test_settings_name_ends_and_barred_tokens(
    make_model: Callable[..., PreTrainedModel],
    settings: dict[str, Any],
    stops: list[int],
    barred: list[int],
) -> None:
    model = make_model("llama")
    model.generation_config.update(**settings)
    assert own_stops(model) == stops
    assert own_barred(model) == barred


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eos_token_id", 2.0),
        ("eos_token_id", "2"),
        ("eos_token_id", [[2]]),
        ("suppress_tokens", 5),
        ("suppress_tokens", ["5"]),
        ("bad_words_ids", [5]),
        ("bad_words_ids", 5),
        ("bad_words_ids", [["5"]]),
    ],
)
def test_what_is_no_id_is_refused(
    make_model: Callable[..., PreTrainedModel], key: str, value: Any
) -> None:
    model = make_model("llama")
    setattr(model.generation_config, key, value)
    with pytest.raises(InputError, match=rf"{key} of its generation_config.json has .*; valid: "):
        _ = own_stops(model), own_barred(model)
