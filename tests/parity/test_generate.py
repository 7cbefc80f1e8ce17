"""Greedy completions are those of transformers' own generate, and scores those of its logits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.padded import score_padded
from brulee.inference.sampling import Sampling
from brulee.methods.lora import LoRA, LoRAOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
MODELS = ["llama", "qwen3", "mistral", "gpt2", "t5", "t5-gated", "bart"]
NEW = 24
# Random encoder-decoders fall into repeating one token; these do so late, or not at all.
VARIED: dict[str, dict[str, Any]] = {
    "t5": {"tie_word_embeddings": False, "initializer_factor": 2.0},
    "bart": {"tie_word_embeddings": False},
}


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Nine of unequal length, most of them longer than Mistral's window, one of a single token."""
    draw = random.Random(1)
    lengths = [13, 1, 30, 7, 22, 8, 3, 17, 40]
    return [[draw.randrange(5, 300) for _ in range(n)] for n in lengths]


def _engine(model: PreTrainedModel, batch_tokens: int = 8192, stop: tuple[int, ...] = (2,)) -> Any:
    return Engine(model, stop, 0, batch_tokens)


def _theirs(
    model: PreTrainedModel,
    prompt: list[int],
    stop: list[int],
    new_tokens: int = NEW,
    beams: int = 1,
) -> list[int]:
    """Of one prompt alone, so that padding has no part in it.

    The decoder's start token and what is forced to follow it are given, not written.
    """
    forced = model.generation_config.forced_bos_token_id is not None
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=new_tokens + forced,
            do_sample=False,
            num_beams=beams,
            eos_token_id=stop,
            pad_token_id=0,
        )[0].tolist()
    new = found[1 + forced :] if model.config.is_encoder_decoder else found[len(prompt) :]
    return new[: next((i for i, token in enumerate(new) if token in stop), len(new))]


def _late(outputs: list[list[int]]) -> list[int]:
    """Tokens that rows come to, but do not begin with: stopping on them ends rows apart."""
    first = {output[0] for output in outputs}
    return sorted({token for output in outputs for token in output[4::9]} - first)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_transformers(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name, seed=1, **VARIED.get(name, {}))
    expected = [_theirs(model, p, [2]) for p in prompts]
    assert _engine(model).generate(prompts, Sampling(NEW)) == expected
    stop = _late(expected)
    stopped = [_theirs(model, p, stop) for p in prompts]
    assert len({len(s) for s in stopped}) > 2, "every row ends at once: nothing is tested"
    assert _engine(model, stop=tuple(stop)).generate(prompts, Sampling(NEW)) == stopped


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_a_penalty_on_repetition_is_transformers(
    make_model: Make, prompts: list[list[int]], name: str, penalty: float
) -> None:
    """Of prompt and completion in a decoder; of the completion alone where an encoder reads."""
    model = make_model(name, seed=1, **VARIED.get(name, {}))
    plain = _engine(model).generate(prompts, Sampling(NEW))
    model.generation_config.repetition_penalty = penalty
    expected = [_theirs(model, p, [2]) for p in prompts]
    found = _engine(model).generate(prompts, Sampling(NEW, repetition_penalty=penalty))
    assert found == expected != plain


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_token_that_is_forced_to_be_first_is_given(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    """As BART's BOS, and the language that NLLB is to write."""
    model = make_model(name, seed=1, **VARIED[name])
    plain = _engine(model).generate(prompts, Sampling(NEW))
    model.generation_config.forced_bos_token_id = 9
    expected = [_theirs(model, p, [2]) for p in prompts]
    assert _engine(model).generate(prompts, Sampling(NEW)) == expected != plain


@pytest.mark.parametrize("name", ["llama", "bart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_a_model_may_not_write_is_never_chosen(
    make_model: Make, prompts: list[list[int]], name: str, beams: int
) -> None:
    """As Marian's padding."""
    model = make_model(name, seed=1, **VARIED.get(name, {}))
    plain = _engine(model).generate(prompts, Sampling(NEW, beams=beams))
    once, twice = plain[0][0], plain[1][0]
    # An end is never barred, nor is an id without a row: -1 is not the last one.
    model.generation_config.bad_words_ids = [[once], [2]]
    model.generation_config.suppress_tokens = [twice]
    expected = [_theirs(model, p, [2], beams=beams) for p in prompts]
    model.generation_config.suppress_tokens = [twice, 100_000, -1]
    assert _engine(model).barred == tuple(sorted({once, twice}))
    found = _engine(model).generate(prompts, Sampling(NEW, beams=beams))
    assert found == expected != plain


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_decoder_starts_with_the_token_of_the_generation_settings(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name, seed=1, **VARIED[name])
    plain = _engine(model).generate(prompts, Sampling(NEW))
    model.generation_config.decoder_start_token_id = 9
    expected = [_theirs(model, p, [2]) for p in prompts]
    assert _engine(model).generate(prompts, Sampling(NEW)) == expected != plain


@pytest.mark.parametrize("name", ["llama", "bart"])
@pytest.mark.parametrize("beams", [2, 3])
def test_beams_go_on_where_the_likeliest_tokens_are_ends(
    make_model: Make, prompts: list[list[int]], name: str, beams: int
) -> None:
    """A chat has an end of its turn and one of its text, and a model may name more."""
    model = make_model(name, seed=1, **VARIED.get(name, {}))
    logits = model(
        input_ids=torch.tensor(prompts[:1]),
        **({"decoder_input_ids": torch.tensor([[2]])} if name == "bart" else {}),
    ).logits
    stop = logits[0, -1].topk(4).indices.tolist()
    expected = [_theirs(model, p, stop, beams=beams) for p in prompts]
    found = _engine(model, stop=tuple(stop)).generate(prompts, Sampling(NEW, beams=beams))
    assert found == expected


def test_a_forced_token_takes_a_position_of_the_decoder(make_model: Make) -> None:
    model = make_model("bart", seed=1, max_position_embeddings=16, **VARIED["bart"])
    lengths = []
    for model.generation_config.forced_bos_token_id in (None, 9):
        (found,) = Engine(model, (), 0, 8192).generate([[5, 6, 7]], Sampling(99))
        lengths.append(len(found))
    assert lengths == [15, 14]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_greedy_tokens_with_an_adapter_are_those_of_the_merged_model(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name)
    plain = _engine(model).generate(prompts, Sampling(NEW))
    attached = LoRA(LoRAOptions(rank=4)).attach(model)
    draw = torch.Generator().manual_seed(0)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    found = _engine(model).generate(prompts, Sampling(NEW))
    assert found != plain
    attached.merge()
    assert found == [_theirs(model, p, [2]) for p in prompts]


def _naive(model: PreTrainedModel, request: Encoded) -> Likelihood:
    prompt, completion = torch.tensor([request.prompt]), torch.tensor(request.completion)
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = (model.config.decoder_start_token_id, *request.completion[:-1])
            logits = model(input_ids=prompt, decoder_input_ids=torch.tensor([start])).logits[0]
        else:
            logits = model(input_ids=torch.tensor([request.ids])).logits[0]
            logits = logits[len(request.prompt) - 1 : -1]
    scores = logits.double().log_softmax(-1)
    picked = scores.gather(1, completion[:, None]).sum().item()
    return Likelihood(picked, request.learned, bool((scores.argmax(-1) == completion).all()))


def _assert_close(found: list[Likelihood], expected: list[Likelihood]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # 1e-5 a token: a sum over many tokens rounds in as many places.
        tolerance = 1e-5 * max(1, theirs.tokens)
        assert ours.log_probability == pytest.approx(theirs.log_probability, abs=tolerance)
        assert (ours.tokens, ours.greedy) == (theirs.tokens, theirs.greedy)


def _requests(prompts: list[list[int]], answers: int) -> list[Encoded]:
    draw = random.Random(2)
    made = []
    for prompt in prompts:
        for _ in range(answers):
            tail = [draw.randrange(5, 300) for _ in range(draw.choice([1, 1, 2, 5]))]
            made.append(Encoded.ending((*prompt, *tail), len(tail)))
    draw.shuffle(made)
    return made


@pytest.mark.diagonal("name", "answers")
@pytest.mark.parametrize("answers", [1, 4], ids=["own prompts", "shared prompts"])
@pytest.mark.parametrize("name", MODELS)
def test_likelihoods_are_those_of_one_request_at_a_time(
    make_model: Make, prompts: list[list[int]], name: str, answers: int
) -> None:
    model = make_model(name)
    requests = _requests(prompts, answers)
    # And the model's own choices, which must be found to be greedy.
    greedy = [_theirs(model, p, [], new_tokens=3) for p in prompts]
    asked = [Encoded.ending((*p, *g), 3) for p, g in zip(prompts, greedy, strict=True)]
    requests += asked * answers
    expected = [_naive(model, r) for r in requests]
    assert {e.greedy for e in expected} == {True, False}
    _assert_close(_engine(model).loglikelihood(requests), expected)


@pytest.mark.diagonal("name", "batch_tokens")
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 60, 200])
def test_a_stream_and_padded_batches_give_the_same_likelihoods(
    make_model: Make, prompts: list[list[int]], name: str, batch_tokens: int
) -> None:
    model = make_model(name)
    requests = _requests(prompts, 4)
    padded: dict[int, Likelihood] = {}
    score_padded(model, requests, 0, batch_tokens, padded.__setitem__)
    found = _engine(model, batch_tokens).loglikelihood(requests)
    _assert_close(found, [padded[i] for i in range(len(requests))])
