"""A likelihood is a matter of its request alone, and what is common is read once."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.errors import BruleeError
from brulee.inference import likelihood
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.same_bits import filled
from brulee.inference.sampling import Sampling
from brulee.inference.trial import reads_streams

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
STREAMED = ["llama", "deepseek", "qwen3", "gemma", "mistral", "phi", "gpt2", "gpt-neox"]


def _questions(count: int, answers: int) -> list[Encoded]:
    """Answers of one to three tokens to questions after one of two texts of 210 tokens."""
    draw = random.Random(1)
    texts = [[draw.randrange(5, 300) for _ in range(210)] for _ in range(2)]
    made = []
    for _ in range(count):
        asked = [*draw.choice(texts), *(draw.randrange(5, 300) for _ in range(draw.randrange(60)))]
        for _ in range(answers):
            tail = [draw.randrange(5, 300) for _ in range(draw.randrange(1, 4))]
            made.append(Encoded.ending([*asked, *tail], len(tail)))
    return made


def _engine(model: PreTrainedModel, batch_tokens: int = 8192, like: Engine | None = None) -> Engine:
    return Engine(model, (2,), 0, batch_tokens, like=like)


@pytest.mark.parametrize("name", STREAMED)
def test_every_decoder_of_ours_is_read_as_a_stream(make_model: Make, name: str) -> None:
    assert reads_streams(make_model(name))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_an_encoder_decoder_is_not(make_model: Make, name: str) -> None:
    assert not reads_streams(make_model(name))


def test_a_model_that_caps_its_attention_is_not(make_model: Make) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    assert not reads_streams(Gemma2ForCausalLM(config))


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("name", STREAMED)
def test_size_and_order_of_batches_change_no_bit(make_model: Make, name: str) -> None:
    model, requests = make_model(name, max_position_embeddings=512), _questions(7, 2)
    engine = _engine(model)
    expected = [engine.loglikelihood([r])[0] for r in requests]
    for size in (3, 8, 32):
        found: list[Likelihood] = []
        for start in range(0, len(requests), size):
            found += engine.loglikelihood(requests[start : start + size])
        assert found == expected
    for batch_tokens in (7, 33, 150):
        assert _engine(model, batch_tokens, engine).loglikelihood(requests) == expected
    order = random.Random(0).sample(range(len(requests)), len(requests))
    shuffled = engine.loglikelihood([requests[i] for i in order])
    assert shuffled == [expected[i] for i in order]


def test_bfloat16_differs_by_its_rounding_only(make_model: Make) -> None:
    model, requests = make_model("llama").to(torch.bfloat16), _questions(11, 3)
    engine = _engine(model)
    expected = engine.loglikelihood(requests)
    for request, whole in zip(requests, expected, strict=True):
        (alone,) = engine.loglikelihood([request])
        assert alone.log_probability == pytest.approx(whole.log_probability, rel=0.02)


def test_common_tokens_are_read_once(make_model: Make) -> None:
    model, requests = make_model("llama"), _questions(11, 3)
    engine, read = _engine(model, 64), list[int]()
    model.get_input_embeddings().register_forward_hook(
        lambda _, args, __: read.append(args[0].numel())
    )
    engine.loglikelihood(requests)
    beginnings = {r.ids[:n] for r in requests for n in range(1, len(r.ids))}
    assert len(beginnings) <= sum(read) < len(beginnings) + 32 * len(read)


def test_the_vocabulary_is_looked_at_where_a_token_is_scored(make_model: Make) -> None:
    model = make_model("llama")
    asked = list(range(5, 205))
    requests = [Encoded.ending([*asked, answer], 1) for answer in (7, 8, 9, 10)]
    engine = _engine(model)
    rows: list[int] = []
    model.get_output_embeddings().register_forward_hook(
        lambda _, args, __: rows.append(args[0].shape[1])
    )
    engine.loglikelihood(requests)
    # One position, and as many rows as make its bits its own.
    assert rows == [filled(1, model)]
    assert rows in ([1], [16])


def test_a_model_may_give_all_logits_where_few_are_asked_for(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Qwen 3 Omni's and VideoLLaMA 3's classes do: those of other tokens were scored."""
    model, questions = make_model("llama"), _questions(3, 2)
    expected, text = _engine(model).loglikelihood(questions), list(questions[0].prompt)
    written = _engine(model).generate([text], Sampling(max_new_tokens=6))
    forward = model.forward

    @functools.wraps(forward)
    def leaving_it_unread(*args: Any, logits_to_keep: object = 0, **more: Any) -> Any:
        return forward(*args, **more)

    monkeypatch.setattr(model, "forward", leaving_it_unread)
    engine = _engine(model)
    assert engine.reads_streams
    for found, right in zip(engine.loglikelihood(questions), expected, strict=True):
        assert found.log_probability == pytest.approx(right.log_probability, abs=1e-4)
    assert engine.generate([text], Sampling(max_new_tokens=6)) == written


def test_several_spans_of_one_document_are_scored_together(make_model: Make) -> None:
    engine = _engine(make_model("llama"))
    ids = tuple(range(5, 25))
    parts = [Encoded(ids, (span,)) for span in ((3, 6), (10, 11), (18, 20))]
    (whole,) = engine.loglikelihood([Encoded(ids, ((3, 6), (10, 11), (18, 20)))])
    found = engine.loglikelihood(parts)
    assert whole.tokens == 6
    assert whole.log_probability == pytest.approx(sum(f.log_probability for f in found))


def test_a_first_token_that_nothing_predicts_is_refused(make_model: Make) -> None:
    with pytest.raises(ValueError, match="nothing stands before"):
        _engine(make_model("llama")).loglikelihood([Encoded.ending((5, 6), 2)])


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_model_that_gives_no_number_has_no_likeliest_answer(make_model: Make, name: str) -> None:
    """The first of several answers was taken for the likeliest, and scored."""
    model = make_model(name)
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "norm" in n)[0] = float("nan")
    with pytest.raises(BruleeError, match="not numbers"):
        _engine(model).loglikelihood([Encoded.ending((5, 6, 7), 1)])


def test_a_token_that_is_never_written_has_a_finite_likelihood(make_model: Make) -> None:
    """Else neither statistics nor a file of answers could hold it."""
    model = make_model("bart")
    requests = [Encoded.ending([5, 6, 7, *answer], 2) for answer in ([8, 9], [9, 9], [8, 10])]
    model.final_logits_bias[0, 9] = -math.inf
    once, twice, other = (one.log_probability for one in _engine(model).loglikelihood(requests))
    assert -10_100 < once < -10_000 < other
    assert twice == -20_000


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_few_rows_of_logits_are_in_fp32_at_once(
    make_model: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's pass has thousands of them, each as wide as the vocabulary."""
    engine, requests = _engine(make_model(name)), _questions(5, 3)
    expected = engine.loglikelihood(requests)
    monkeypatch.setattr(likelihood, "_TOGETHER", 2)
    log_softmax, rows = torch.Tensor.log_softmax, []

    def noted(self: torch.Tensor, dim: int) -> torch.Tensor:
        rows.append(len(self))
        return log_softmax(self, dim=dim)

    monkeypatch.setattr(torch.Tensor, "log_softmax", noted)
    assert engine.loglikelihood(requests) == expected
    assert max(rows) == 2
