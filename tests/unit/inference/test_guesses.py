"""Guesses save passes and change no token."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from brulee.inference import generation
from brulee.inference.engine import Engine
from brulee.inference.guesses import LONGEST, Guesses, shared_out
from brulee.inference.sampling import Sampling
from brulee.models.kernels import language
from brulee.models.precision import pick_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
NEW = 40
WIDE = {  # heads whose width the loop in C takes
    "llama": {"hidden_size": 64}, "mistral": {"hidden_size": 64}, "gpt2": {"n_embd": 64},
    "phi": {"hidden_size": 64}, "gemma": {"head_dim": 16},
}  # fmt: skip


needs_loops = pytest.mark.skipif(
    language(pick_device("auto")) != "C",
    reason="only the loops in C read several tokens of a row in a pass",
)


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    guesses = Guesses([1, 2, 3, 4, 5, 6, 9, 2, 3])
    assert guesses.next(2) == [4, 5]
    assert guesses.next(1) == [4]
    guesses.add([7])
    assert guesses.next(2) == []
    guesses.add([2, 3])
    assert guesses.next(2) == [7, 2]  # the last time counts


def test_three_tokens_say_more_than_two() -> None:
    assert Guesses([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3]).next(1) == [4]


def test_a_circle_is_guessed_to_go_on() -> None:
    guesses = Guesses([8, 1, 2, 1, 2, 1, 2])
    for _ in range(4):
        guesses.heard(len(guesses.next(99)), len(guesses.next(99)))
    assert guesses.next(99) == [1, 2] * (LONGEST // 2)


def test_right_guesses_grow_and_wrong_ones_shrink() -> None:
    guesses = Guesses(list(range(50)) + list(range(20)))
    lengths = []
    for guessed, right in [(2, 2), (4, 4), (8, 3), (4, 0)]:
        guesses.heard(guessed, right)
        lengths.append(len(guesses.next(99)))
    assert lengths == [4, 8, 4, 1]
    guesses.heard(0, 0)  # none was made
    assert len(guesses.next(99)) == 1


def test_what_there_is_goes_to_the_modest_first() -> None:
    assert shared_out([1, 9, 3], 30) == [1, 9, 3]
    assert shared_out([1, 9, 3], 6) == [1, 3, 2]
    assert shared_out([5, 5], 0) == [0, 0]
    assert shared_out([], 7) == []


def _prompts() -> list[list[int]]:
    draw = random.Random(1)
    text = [draw.randrange(5, 300) for _ in range(90)]
    return [[*text, *(draw.randrange(5, 300) for _ in range(n))] for n in (1, 30, 7, 60, 2, 12)]


def _written(
    model: PreTrainedModel,
    sampling: Sampling,
    tokens: int = 8192,
    stop: tuple[int, ...] = (2,),
    few: int | None = None,
) -> tuple[list[list[int]], int]:
    """The completions of the first `few` prompts, and how many passes it took to write them."""
    passes: list[int] = []
    hook = model.get_output_embeddings().register_forward_hook(lambda *_: passes.append(1))
    try:
        return Engine(model, stop, 0, tokens).generate(_prompts()[:few], sampling), len(passes)
    finally:
        hook.remove()


@pytest.mark.fast_cases(2)
@needs_loops
@pytest.mark.parametrize("name", WIDE)
def test_the_same_tokens_in_fewer_passes(
    make_model: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(name, seed=1, **WIDE[name])
    monkeypatch.setattr(generation, "TOGETHER", 0)
    expected, without = _written(model, Sampling(NEW))
    stop = (expected[0][7],)
    stopped, _ = _written(model, Sampling(NEW), stop=stop)
    drawn, _ = _written(model, Sampling(NEW, temperature=0.7, seed=3))
    monkeypatch.undo()
    found, passes = _written(model, Sampling(NEW))
    assert found == expected
    assert passes <= without
    for tokens, few in ((1, 1), (400, None)):  # with one token a pass, each is by itself
        assert _written(model, Sampling(NEW), tokens, few=few)[0] == expected[:few]
        assert _written(model, Sampling(NEW), tokens, stop, few)[0] == stopped[:few]
    assert _written(model, Sampling(NEW, temperature=0.7, seed=3))[0] == drawn
    assert drawn != expected


@needs_loops
def test_a_text_that_repeats_itself_is_written_in_few_passes(make_model: Make) -> None:
    model = make_model("llama", seed=1, hidden_size=64, max_position_embeddings=512)
    with torch.no_grad():  # no token is likelier than another, and the first is taken
        model.lm_head.weight.zero_()
    found, passes = _written(model, Sampling(60))
    assert found == [[0] * 60] * 6
    assert passes < 20
