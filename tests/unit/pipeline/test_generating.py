"""Settings of a model's files by which a run does not write its answers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from brulee import progress
from brulee.inference.sampling import Sampling
from brulee.models.loading import Base
from brulee.pipeline.generating import tell_own_way

# As the files of a BART for summaries have them; the first two are followed.
OF_SUMMARIES = {
    "forced_bos_token_id": 1,
    "suppress_tokens": [9],
    "num_beams": 4,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 3,
    "min_length": 56,
    "max_length": 142,
}


@pytest.mark.parametrize(
    ("settings", "asked", "told"),
    [
        (OF_SUMMARIES, {}, "(num_beams 4, no_repeat_ngram_size 3, min_length 56)"),
        (OF_SUMMARIES, {"beams": 4}, "(no_repeat_ngram_size 3, min_length 56)"),
        ({"repetition_penalty": 1.05}, {}, "(repetition_penalty 1.05)"),
        ({"repetition_penalty": 1.05}, {"repetition_penalty": 1.05}, ""),
        ({"num_beams": 1, "min_length": 0, "repetition_penalty": 1.0}, {}, ""),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, {}, ""),
        ({}, {"beams": 4}, ""),
    ],
)
def test_settings_that_are_not_followed_are_told(
    make_base: Callable[..., Base],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    asked: dict[str, Any],
    told: str,
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    base = make_base("bart")
    for key, value in settings.items():
        setattr(base.model.generation_config, key, value)
    tell_own_way(base, Sampling(**asked))
    said = " ".join(capsys.readouterr().err.split())
    assert bool(said) == bool(told)
    assert told in said
