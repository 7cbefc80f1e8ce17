"""With the bundled model: a request's result is its own, whatever it is computed with."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.inference.sampling import Sampling
from brulee.inference.session import Session, open_engine, open_session

pytestmark = pytest.mark.slow
TOPICS = ("bread", "the sea", "old trains", "a lost key", "the moon", "a garden", "winter", "tea")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """In fp32, with as many threads as there are cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield open_session("bundled", "cpu", "float32")
    torch.set_num_threads(before)


def _prompts(session: Session) -> list[list[int]]:
    """Some with a long beginning in common, some with none; from 5 to 900 tokens."""
    draw = random.Random(0)
    words = ["the", "a", "of", "and", "to", "in", "it", "was", "that", "he", "she", "they"]

    def text(count: int) -> str:
        return " ".join(draw.choices([*words, *TOPICS], k=count))

    shots = [text(350), text(700), ""]
    asked = [
        f"{draw.choice(shots)}\nWrite about {draw.choice(TOPICS)}.{text(draw.randrange(90))}\n"
        for _ in range(40)
    ]
    return [session.encoder.encode_text(one) for one in asked]


def test_likelihoods_have_the_same_bits_in_batches_of_any_size_and_order(session: Session) -> None:
    draw = random.Random(1)
    requests = [
        Encoded.ending([*prompt, *(draw.randrange(5, 40_000) for _ in range(n))], n)
        for prompt in _prompts(session)
        for n in (1, draw.randrange(2, 9))
    ]
    likelihood = session.engine.loglikelihood
    alone = [likelihood([request])[0] for request in requests]
    for size in (3, 8, 32):
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        assert [found for part in parts for found in likelihood(part)] == alone
    order = draw.sample(range(len(requests)), len(requests))
    shuffled = likelihood([requests[i] for i in order])
    assert shuffled == [alone[i] for i in order]
    small = open_engine(session.base, session.encoder, batch_tokens=300)
    assert small.loglikelihood(requests) == alone


def test_texts_are_the_same_in_batches_of_any_size_and_order(session: Session) -> None:
    prompts, sampling = _prompts(session)[:16], Sampling(40)
    write = session.engine.generate
    alone = [write([prompt], sampling)[0] for prompt in prompts]
    assert len({tuple(text) for text in alone}) > 4
    for size in (3, 8, 16):
        parts = [prompts[i : i + size] for i in range(0, len(prompts), size)]
        assert [text for part in parts for text in write(part, sampling)] == alone
    order = random.Random(2).sample(range(len(prompts)), len(prompts))
    shuffled = write([prompts[i] for i in order], sampling)
    assert shuffled == [alone[i] for i in order]
    small = open_engine(session.base, session.encoder, batch_tokens=1500)
    assert small.generate(prompts, sampling) == alone
