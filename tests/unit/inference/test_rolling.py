"""Every token of a long text is scored once, with as much before it as the model can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from brulee.data.encoding import Encoded
from brulee.inference.engine import Engine
from brulee.inference.rolling import rolling, windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.mark.parametrize("context", [1, 3, 8])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 30, 31, 32])
def test_windows_score_every_token_once(length: int, context: int) -> None:
    text = list(range(100, 100 + length))
    found = windows(text, (1,), 8, context)
    assert [i for w in found for i in w.completion] == text
    for at, window in enumerate(found):
        assert len(window.ids) <= 9
        if at:
            assert len(window.prompt) >= context


def test_the_last_window_reads_as_much_as_it_can() -> None:
    last = windows(list(range(20)), (99,), 8)[-1]
    assert last.ids == tuple(range(11, 20))
    assert last.learned == 4


@pytest.mark.parametrize(("begin", "window", "context"), [((), 8, 1), ((1,), 8, 9), ((1,), 8, 0)])
def test_windows_that_score_nothing_are_refused(
    begin: tuple[int, ...], window: int, context: int
) -> None:
    with pytest.raises(ValueError, match="none to score"):
        windows([1, 2, 3], begin, window, context)


def test_a_text_that_fits_is_one_document(make_model: Callable[..., PreTrainedModel]) -> None:
    engine = Engine(make_model("llama", max_position_embeddings=32), (2,), 0)
    short, long = list(range(5, 30)), list(range(5, 100))
    found = rolling(engine, [short, long, []], (1,), 32)
    assert found[0] == engine.loglikelihood([Encoded.ending([1, *short], 25)])[0]
    assert (found[1].tokens, found[2].tokens) == (95, 0)
    parts = engine.loglikelihood(windows(long, (1,), 32))
    assert found[1].log_probability == sum(p.log_probability for p in parts)
