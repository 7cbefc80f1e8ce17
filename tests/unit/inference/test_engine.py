"""What a request gets back depends on the request alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.engine import Engine
from brulee.inference.penalties import penalise
from brulee.inference.sampling import Sampling, generators, next_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
MODELS = ["llama", "deepseek", "mistral", "gpt2", "t5", "bart"]
NEW = 16
# Long enough for several passes over the prompts of one batch on a CPU.
LENGTHS = [13, 1, 250, 7, 180, 8, 190, 30]


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    draw = random.Random(1)
    return [[draw.randrange(5, 300) for _ in range(n)] for n in LENGTHS]


def _engine(
    model: PreTrainedModel, rows: int | None = None, stop: tuple[int, ...] = (2,)
) -> Engine:
    """An engine whose budget holds so many of the longest prompt."""
    tokens = (max(LENGTHS) + NEW) * rows if rows else 8192
    return Engine(model, stop, 0, tokens)


@pytest.mark.parametrize("name", MODELS)
def test_batch_size_and_order_change_no_token(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    config = {"max_position_embeddings": 512} if name == "bart" else {}
    model = make_model(name, **config)
    expected = _engine(model, 1).generate(prompts, Sampling(NEW))
    assert len({tuple(e) for e in expected}) > 3
    for rows in (3, 8):
        assert _engine(model, rows).generate(prompts, Sampling(NEW)) == expected
    order = random.Random(0).sample(range(len(prompts)), len(prompts))
    shuffled = _engine(model, 3).generate([prompts[i] for i in order], Sampling(NEW))
    assert shuffled == [expected[i] for i in order]


@pytest.mark.parametrize("name", ["llama", "mistral", "t5"])
def test_streaming_gives_what_generating_gives(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name)
    expected = _engine(model).generate(prompts[:4], Sampling(NEW))
    for prompt, whole in zip(prompts, expected, strict=False):
        assert list(_engine(model).stream(prompt, Sampling(NEW))) == whole
    stop = expected[2][5]
    until = expected[2][: expected[2].index(stop)]
    assert list(_engine(model, stop=(stop,)).stream(prompts[2], Sampling(NEW))) == until


def test_streaming_samples_what_generating_samples(
    make_model: Make, prompts: list[list[int]]
) -> None:
    engine = _engine(make_model("llama"))
    sampling = Sampling(NEW, temperature=1.0, top_p=0.9, seed=3)
    assert list(engine.stream(prompts[0], sampling)) == engine.generate(prompts[:1], sampling)[0]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_seeded_draw_does_not_depend_on_the_batch(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name)
    sampling = Sampling(NEW, temperature=1.3, top_p=0.95, seed=7)
    drawn = [_engine(model, rows).generate(prompts, sampling) for rows in (1, 3, 8)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert _engine(model, 8).generate(prompts[:3], sampling) == drawn[0][:3]
    other = Sampling(NEW, temperature=1.3, top_p=0.95, seed=8)
    assert _engine(model).generate(prompts, other) != drawn[0]
    assert _engine(model).generate(prompts, Sampling(NEW)) != drawn[0]


def test_equal_prompts_draw_differently(make_model: Make, prompts: list[list[int]]) -> None:
    drawn = _engine(make_model("llama")).generate([prompts[0]] * 3, Sampling(NEW, 1.0))
    assert len({tuple(d) for d in drawn}) == 3


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_stop_token_ends_its_row_and_is_not_part_of_it(
    make_model: Make, prompts: list[list[int]], name: str
) -> None:
    model = make_model(name)
    free = _engine(model, stop=()).generate(prompts, Sampling(NEW))
    assert all(len(f) == NEW for f in free)
    stop = (free[0][3], free[4][7])
    found = _engine(model, stop=stop).generate(prompts, Sampling(NEW))
    for ours, whole in zip(found, free, strict=True):
        ends = [i for i, token in enumerate(whole) if token in stop]
        assert ours == whole[: min(ends, default=NEW)]


def test_a_row_may_end_at_once(make_model: Make, prompts: list[list[int]]) -> None:
    model = make_model("llama")
    first = _engine(model, stop=()).generate(prompts, Sampling(1))
    found = _engine(model, stop=(first[1][0],)).generate(prompts, Sampling(NEW))
    assert found[1] == []


def test_each_request_is_reported_once_when_it_is_finished(
    make_model: Make, prompts: list[list[int]]
) -> None:
    done: dict[int, list[int]] = {}

    def note(i: int, ids: list[int]) -> None:
        assert i not in done
        done[i] = ids

    found = _engine(make_model("llama"), 3).generate(prompts, Sampling(NEW), note)
    assert [done[i] for i in range(len(prompts))] == found


def test_no_requests_give_no_answers(make_model: Make) -> None:
    engine = _engine(make_model("llama"))
    assert engine.generate([], Sampling(NEW)) == []
    assert engine.loglikelihood([]) == []


def test_likelihoods_are_reported_once_each(make_model: Make) -> None:
    seen: list[int] = []
    requests = [Encoded.ending((5, 6, 7, tail), 1) for tail in range(10, 16)]
    found = _engine(make_model("llama")).loglikelihood(requests, lambda i, _: seen.append(i))
    assert sorted(seen) == list(range(6))
    # The answers of one question, over the same prompt, are a part of the same distribution.
    assert sum(2.718281828**f.log_probability for f in found) < 1


def test_scoring_leaves_the_models_attention_as_it_was(make_model: Make) -> None:
    model = make_model("llama")
    before = model.config._attn_implementation
    _engine(model).loglikelihood([Encoded.ending((5, 6, 7), 1), Encoded.ending((8, 9), 1)])
    assert model.config._attn_implementation == before


def test_nothing_generated_holds_a_gradient(make_model: Make, prompts: list[list[int]]) -> None:
    model = make_model("llama")
    engine = _engine(model)
    engine.generate(prompts[:2], Sampling(3))
    list(engine.stream(prompts[0], Sampling(3)))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


LOGITS = torch.tensor([[0.0, 3.0, 2.0, 1.0], [5.0, 0.0, 0.0, 0.0]])


def test_temperature_zero_takes_the_likeliest() -> None:
    assert next_tokens(LOGITS, Sampling(), []).tolist() == [1, 0]


def test_a_tiny_nucleus_is_the_likeliest_token() -> None:
    sampling = Sampling(temperature=1.0, top_p=1e-6)
    for seed in range(20):
        streams = generators(Sampling(seed=seed), [0, 1])
        assert next_tokens(LOGITS, sampling, streams).tolist() == [1, 0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, top_p=0.0),
        Sampling(temperature=5e-324),
        Sampling(temperature=1e-42, top_p=0.0),
    ],
)
def test_the_ends_of_the_range_are_the_likeliest_token(sampling: Sampling) -> None:
    assert next_tokens(LOGITS, sampling, generators(sampling, [0, 1])).tolist() == [1, 0]


@pytest.mark.parametrize("cut", [{"top_p": 0.5}, {"top_k": 2}, {"min_p": 0.5}])
def test_tokens_are_cut_where_the_logits_are(
    monkeypatch: pytest.MonkeyPatch, cut: dict[str, Any]
) -> None:
    """A CPU sorts a large vocabulary for longer than a GPU needs for a pass of many rows."""
    copied: list[torch.Tensor] = []
    copy = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda own: copied.append(own) or copy(own))
    sampling = Sampling(temperature=1.0, **cut)
    next_tokens(LOGITS, sampling, generators(sampling, [0, 1]))
    assert [int(own[0].count_nonzero()) for own in copied] == [2 if "top_k" in cut else 1]


def test_the_hottest_tokens_are_possible_ones() -> None:
    logits = torch.tensor([[-torch.inf, 3.0, 2.0, -torch.inf]])
    sampling = Sampling(temperature=1e300)
    streams = generators(sampling, [0])
    assert {int(next_tokens(logits, sampling, streams)[0]) for _ in range(100)} == {1, 2}


@pytest.mark.parametrize("penalty", [5e-324, 1e-40, 1e-20, 1e40, 1e308])
@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1.0])
def test_no_penalty_makes_logits_infinite(penalty: float, temperature: float) -> None:
    logits = torch.tensor([[0.0, 3.0, -2.0, 1.0]])
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty)
    penalise(logits[0], sampling, [0, 1], [2, 3])
    assert logits.isfinite().all()
    expected = {1, 3} if penalty < 1 else {0, 1, 3}  # of equal ones, one is drawn
    assert int(next_tokens(logits, sampling, generators(sampling, [0]))[0]) in expected


@pytest.mark.parametrize("penalty", [600.0, -600.0, math.inf, math.nan])
def test_a_length_penalty_that_overflows_is_refused(penalty: float) -> None:
    with pytest.raises(InputError, match=r"length_penalty = .* between -10 and 10"):
        Sampling(beams=2, length_penalty=penalty)


def test_the_largest_seeds_give_streams_of_their_own() -> None:
    seeds = [0, 1, 2**63 - 2, 2**63 - 1]
    drawn = {
        tuple(torch.rand(4, generator=stream).tolist())
        for seed in seeds
        for stream in generators(Sampling(seed=seed), [0, 1])
    }
    assert len(drawn) == 2 * len(seeds)


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(1.0, {0, 1, 2, 3}), (0.9, {1, 2, 3}), (0.8, {1, 2}), (0.6, {1})]
)
def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(
    top_p: float, allowed: set[int]
) -> None:
    # Softmax of 3, 2, 1, 0 is .644, .237, .087, .032.
    sampling = Sampling(temperature=1.0, top_p=top_p)
    streams = generators(sampling, [0])
    drawn = {int(next_tokens(LOGITS[:1], sampling, streams)[0]) for _ in range(400)}
    assert drawn == allowed


@pytest.mark.parametrize(
    ("cut", "allowed"),
    [
        ({"top_k": 0}, {0, 1, 2, 3}),
        ({"top_k": 3}, {1, 2, 3}),
        ({"top_k": 1}, {1}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"min_p": 0.1}, {1, 2, 3}),
        ({"min_p": 0.2}, {1, 2}),
        ({"min_p": 1.0}, {1}),
        # Of the three likeliest, two have .91 of their mass: with all four they have .88.
        ({"top_k": 3, "top_p": 0.9}, {1, 2}),
    ],
)
def test_sampling_is_cut_as_in_transformers(cut: dict[str, Any], allowed: set[int]) -> None:
    # Softmax of 3, 2, 1, 0 is .644, .237, .087, .032.
    sampling = Sampling(temperature=1.0, **cut)
    streams = generators(sampling, [0])
    drawn = {int(next_tokens(LOGITS[:1], sampling, streams)[0]) for _ in range(400)}
    theirs = LOGITS[:1].float()
    makers = {
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    for name, value in cut.items():
        if value:
            theirs = makers[name](value)(None, theirs)
    assert drawn == allowed == set(theirs[0].isfinite().nonzero()[:, 0].tolist())


def test_draws_follow_the_temperature() -> None:
    streams = generators(Sampling(seed=0), [0])
    for temperature, share in ((1.0, 0.644), (3.0, 0.383)):
        sampling = Sampling(temperature=temperature)
        draws = [int(next_tokens(LOGITS[:1], sampling, streams)[0]) for _ in range(2000)]
        assert draws.count(1) / 2000 == pytest.approx(share, abs=0.035)
