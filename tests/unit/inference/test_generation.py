"""What is written after a prompt does not depend on who else is written for, nor on when."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.errors import InputError, NotNumbersError
from brulee.inference.completion import StopTexts
from brulee.inference.engine import Engine
from brulee.inference.generation import Live, Order, follow
from brulee.inference.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
NEW = 20
FAMILIES = ["llama", "qwen3", "gemma", "mistral", "phi", "gpt2", "gpt-neox", "gemma4"]


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Questions after two texts of which one begins as the other does, and some after none."""
    draw = random.Random(1)
    text = [draw.randrange(5, 300) for _ in range(70)]
    other = [*text[:20], *(draw.randrange(5, 300) for _ in range(30))]
    asked = [
        [*draw.choice([text, other, []]), *(draw.randrange(5, 300) for _ in range(n))]
        for n in (1, 5, 40, 12, 3, 9, 30, 2, 7, 33, 8, 21)
    ]
    return [*asked, asked[0], asked[0], text]


def _engine(model: PreTrainedModel, tokens: int = 8192, stop: tuple[int, ...] = (2,)) -> Engine:
    return Engine(model, stop, 0, tokens, decode=lambda ids: "".join(chr(96 + i) for i in ids))


@dataclass(frozen=True)
class Padded:
    """What a model writes in padded rows, and where they also end at one of `stop`."""

    model: PreTrainedModel
    whole: list[list[int]]
    stop: tuple[int, ...]
    stopped: list[list[int]]


@pytest.fixture(scope="module", params=FAMILIES)
def padded(make_model: Make, prompts: list[list[int]], request: pytest.FixtureRequest) -> Padded:
    model = make_model(request.param, seed=1)

    def written(stop: tuple[int, ...]) -> list[list[int]]:
        engine = _engine(model, stop=stop)
        engine.reads_streams = False
        return engine.generate(prompts, Sampling(NEW))

    whole = written((2,))
    assert len({tuple(e) for e in whole}) > 3
    # Rows that end apart, whose places others take.
    stop = tuple({e[k] for k, e in enumerate(whole)} - {e[0] for e in whole})
    stopped = written(stop)
    assert len({len(s) for s in stopped}) > 2
    return Padded(model, whole, stop, stopped)


# One token a pass is many passes, which the others are spared in the fast tests.
@pytest.mark.diagonal("padded", "tokens")
@pytest.mark.parametrize("tokens", [8192, 1, 150])
def test_rows_over_shared_keys_write_what_padded_ones_write(
    prompts: list[list[int]], padded: Padded, tokens: int
) -> None:
    some = slice(None, None, 5 if tokens == 1 else 1)  # with one token a pass, each is by itself
    for stop, expected in (((2,), padded.whole), (padded.stop, padded.stopped)):
        engine = _engine(padded.model, tokens, stop)
        assert engine.generate(prompts[some], Sampling(NEW)) == expected[some]


def test_a_finished_rows_place_is_taken(make_model: Make, prompts: list[list[int]]) -> None:
    model = make_model("llama")
    engine, passes = _engine(model, 300), list[int]()
    model.get_output_embeddings().register_forward_hook(lambda *_: passes.append(1))
    engine.generate(prompts, Sampling(8))
    together = len(passes)
    del passes[:]
    for prompt in prompts:
        engine.generate([prompt], Sampling(8))
    assert together < len(passes) / 3


def test_what_a_group_shares_is_read_once(make_model: Make) -> None:
    model = make_model("llama")
    text = list(range(5, 105))
    engine, read = _engine(model), list[int]()
    model.get_input_embeddings().register_forward_hook(
        lambda _, args, __: read.append(args[0].numel())
    )
    engine.generate([[*text, k] for k in range(110, 120)], Sampling(1))
    assert sum(read) < 100 + 10 + 32


@pytest.mark.diagonal("name", "beams,penalty")
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "t5"])
@pytest.mark.parametrize(("beams", "penalty"), [(3, 1.0), (2, 0.3), (4, 2.0)])
def test_beams_find_what_transformers_beams_find(
    make_model: Make, prompts: list[list[int]], name: str, beams: int, penalty: float
) -> None:
    model, stop = make_model(name, seed=1), [2, 7, 9]
    expected = []
    for prompt in prompts[:5]:
        with torch.no_grad():
            found = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=12,
                num_beams=beams,
                length_penalty=penalty,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=0,
            )[0].tolist()
        new = found[1:] if model.config.is_encoder_decoder else found[len(prompt) :]
        expected.append(new[: next((i for i, t in enumerate(new) if t in stop), len(new))])
    sampling = Sampling(12, beams=beams, length_penalty=penalty)
    for tokens, few in ((1, 2), (8192, 5)):  # with one token a pass, each is by itself
        found = _engine(model, tokens, tuple(stop)).generate(prompts[:few], sampling)
        assert found == expected[:few]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_stop_text_ends_a_completion_and_is_not_part_of_it(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    engine = _engine(make_model(name, seed=1))
    whole = engine.complete(prompts, Sampling(NEW))
    stop = whole[2].text[4:6]
    found = engine.complete(prompts, Sampling(NEW, stop=(stop, "never")))
    for free, stopped in zip(whole, found, strict=True):
        assert stopped.text == free.text.split(stop)[0]
        if stop in free.text:
            assert stopped.tokens == free.text.index(stop) + 2
    assert found[2].tokens < NEW


def test_a_completion_without_a_decoder_is_refused(make_model: Make) -> None:
    engine = Engine(make_model("llama"), (2,), 0)
    with pytest.raises(ValueError, match="decode"):
        engine.complete([[5, 6]], Sampling(2))
    with pytest.raises(ValueError, match="decode"):
        engine.generate([[5, 6]], Sampling(2, stop=("x",)))


def test_a_stop_text_may_begin_and_end_inside_tokens() -> None:
    pieces = {1: "one ", 2: "x\n", 3: "\nQ", 4: ": two", 5: "é"}

    def decode(ids: list[int]) -> str:
        return "".join(pieces[i] for i in ids)

    texts = StopTexts(("\n\nQ:", ""), decode)
    assert [texts.reached([1, 2, 3, 4][:n]) for n in (1, 2, 3, 4)] == [False, False, False, True]
    assert texts.completion([1, 2, 3, 4]).text == "one x"
    assert texts.completion([1, 2, 3, 4]).tokens == 4
    assert not StopTexts((), decode).reached([1, 2, 3, 4])


def test_the_attention_of_a_model_is_its_own_again_between_tokens(make_model: Make) -> None:
    model = make_model("llama")
    before = model.config._attn_implementation
    tokens = _engine(model).stream([5, 6, 7], Sampling(5))
    next(tokens)
    assert model.config._attn_implementation == before


def test_tokens_that_are_written_are_penalised_by_their_number(make_model: Make) -> None:
    """As OpenAI defines it: mu[j] - c[j] * frequency - (c[j] > 0) * presence."""
    model = make_model("llama", seed=1)
    prompt = [5, 6, 7, 8]
    sampling = Sampling(16, frequency_penalty=0.3, presence_penalty=0.2)
    (found,) = _engine(model).generate([prompt], sampling)
    (plain,) = _engine(model).generate([prompt], Sampling(16))
    expected: list[int] = []
    for _ in range(16):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *expected]])).logits[0, -1]
        for token in set(expected):
            logits[token] -= 0.3 * expected.count(token) + 0.2
        expected.append(int(logits.argmax()))
    assert found == expected != plain


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_biases_are_added_before_penalties(make_model: Make, name: str) -> None:
    """As in OpenAI's API; of a token that the model reads and does not write, to nothing."""
    model, prompt = make_model(name, seed=1), [5, 6, 7, 8]
    biases = {11: -100.0, 30: 0.25, 40: -1.5, 10**6: 100.0}
    sampling = Sampling(12, repetition_penalty=1.3, biases=tuple(biases.items()))
    (found,) = _engine(model, stop=()).generate([prompt], sampling)
    expected: list[int] = []
    for _ in range(12):
        given = {"input_ids": torch.tensor([[*prompt, *expected]])}
        known = {*prompt, *expected}
        if model.config.is_encoder_decoder:
            given = {"input_ids": torch.tensor([prompt])}
            given["decoder_input_ids"] = torch.tensor([[0, *expected]])
            known = {0, *expected}
        with torch.no_grad():
            logits = model(**given).logits[0, -1]
        for token in (11, 30, 40):
            logits[token] += biases[token]
        for token in known:
            logits[token] *= 1.3 if logits[token] < 0 else 1 / 1.3
        expected.append(int(logits.argmax()))
    assert found == expected


@pytest.mark.parametrize(
    "given",
    [{"biases": ((8, 0.05),)}, {"presence_penalty": 0.05}, {"repetition_penalty": 1.002}],
    ids=lambda given: next(iter(given)),
)
def test_a_small_change_of_a_large_logit_counts_in_bfloat16(given: dict[str, Any]) -> None:
    logits = torch.zeros(1, 16, dtype=torch.bfloat16)
    logits[0, [7, 8]] = 20.0  # the next number below is 19.875
    order = Order(0, 9, [7], 0, (), before=[7])
    row = Live.begun(order, Sampling(9, **given), lambda _: False, False)
    row.ids = [7]
    follow([row], [[]], logits)
    assert row.ids == [7, 8]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top_k": -1}, "top_k = -1 is not valid: it should be 0 or more"),
        ({"min_p": 1.5}, "min_p = 1.5 is not valid"),
        ({"repetition_penalty": 0.0}, "repetition_penalty = 0.0 is not valid"),
        ({"presence_penalty": 3.0}, "presence_penalty = 3.0 is not valid"),
        ({"beams": 2, "repetition_penalty": 1.1}, "beams = 2 is not valid with a penalty"),
        ({"biases": ((3, 101.0),)}, "a bias of 101.0 on token 3 is not valid"),
        ({"biases": ((-1, 1.0),)}, "a bias of 1.0 on token -1 is not valid"),
        ({"beams": 2, "biases": ((3, 1.0),)}, "beams = 2 is not valid with a bias"),
    ],
)
def test_what_no_choice_is_made_by_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Sampling(4, **given)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(4),
        Sampling(4, temperature=1.0),
        Sampling(4, temperature=1.0, top_p=0.9),
        Sampling(4, temperature=1.0, top_k=5, min_p=0.1, repetition_penalty=1.2),
    ],
    ids=["greedy", "drawn", "nucleus", "cut"],
)
def test_a_model_without_numbers_writes_nothing(make_model: Make, sampling: Sampling) -> None:
    model = make_model("llama", seed=1)
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = torch.nan
    engine = _engine(model)
    with pytest.raises(NotNumbersError, match="not numbers"):
        engine.generate([[5, 6], [8, 9, 10]], sampling)
    with pytest.raises(NotNumbersError):
        list(engine.stream([5, 6], sampling))


def test_beams_without_numbers_are_refused(make_model: Make) -> None:
    model = make_model("llama", seed=1)
    with torch.no_grad():
        model.get_output_embeddings().weight[:] = torch.nan
    with pytest.raises(NotNumbersError):
        _engine(model).generate([[5, 6]], Sampling(4, beams=2))


def test_beams_that_all_end_in_a_stop_text_are_done(make_model: Make) -> None:
    model = make_model("llama", seed=1)
    engine = Engine(model, (2,), 0, decode=lambda ids: "x" * len(ids))
    for stop, length in (("x", 1), ("xxx", 3), ("y", 8)):
        (found,) = engine.complete([[5, 6, 7]], Sampling(8, beams=3, stop=(stop,)))
        assert len(found.ids) == length
