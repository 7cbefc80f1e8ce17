"""Requests of many threads: each its own text, some refused, some given up, none forgotten."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from brulee.inference.continuous import Continuous
from brulee.inference.sampling import Sampling
from brulee.methods.adapter_files import tensors_digest
from brulee.serving.worker import Asked, BusyError, DeadError, Heard

Serve = Callable[..., Any]
TEXTS = ["The customer asked", "a", "Which of these reviews is the most positive? " * 4]


def test_threads_that_come_at_random_times_each_get_the_text_generate_gives(serve: Serve) -> None:
    server = serve("lora", "ia3", "sparse", "prefix")
    keys = {name.split("@")[0]: name for name in server.held.names}
    draw = random.Random(0)
    asked = [
        (
            draw.choice(["tiny", *keys]),
            draw.choice(TEXTS),
            draw.choice([0, 1]),
            draw.choice([3, 24]),
        )
        for _ in range(24)
    ]
    expected = [
        server.held.complete([text], [keys.get(model)], most, float(heat), seed=1)[0]
        for model, text, heat, most in asked
    ]

    def ask(number: int) -> str:
        time.sleep(random.Random(number).random() * 0.4)
        model, text, heat, most = asked[number]
        stream = number % 2 == 0
        answer = server.chat(model, text, temperature=heat, max_tokens=most, seed=1, stream=stream)
        return _streamed(answer) if stream else answer.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(24))) == expected


def _streamed(answer: Any) -> str:
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    found = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    return "".join(found)


def test_more_than_may_wait_are_refused_at_once(serve: Serve) -> None:
    server = serve(rows=1, waiting=2)
    with ThreadPoolExecutor(12) as pool:
        asked = [
            pool.submit(server.chat, "tiny", "a", max_tokens=100, temperature=1.0, seed=i)
            for i in range(12)
        ]
        answers = [one.result() for one in asked]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "answers wait, of at most 2" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "1"
    assert server.chat("tiny", "a", max_tokens=2).status_code == 200


def test_a_cancelled_answer_is_written_no_further_and_others_are(serve: Serve) -> None:
    server = serve("lora")
    worker, heard = server.serving.worker, list[Heard]()
    ids, done = server.held.encode_text(None, "The customer asked"), threading.Event()
    kept = Asked(None, ids, Sampling(60, temperature=1.0, seed=1))
    long = Asked(server.held.names[0], ids, Sampling(400, temperature=1.5, seed=11))

    def hear(one: Heard) -> None:
        if one.finish is not None:
            done.set()

    (given_up,) = worker.submit([(long, heard.append)])
    while len(heard) < 3:
        time.sleep(0.002)
    worker.submit([(kept, hear)])
    worker.cancel([given_up])
    count = len(heard)
    assert done.wait(30)
    assert len(heard) <= count + 1
    assert heard[-1].finish is None
    assert worker.running == worker.waiting == worker.cache_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("heat", [0, 1])
def test_an_adapter_whose_numbers_overflow_fails_alone(
    serve: Serve, adapters: Path, tmp_path: Path, heat: int, stream: bool
) -> None:
    """It, and neither those beside it nor the thread."""
    server = serve("lora")
    large = tmp_path / "large"
    shutil.copytree(adapters / "lora", large)
    (weights,) = large.glob("*.safetensors")
    tensors = {k: v * 1e25 for k, v in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    ours = json.loads((large / "brulee.json").read_text())
    ours["tensors_digest"] = tensors_digest(tensors)
    (large / "brulee.json").write_text(json.dumps(ours))
    server.serving.store.add("large", large, 1)
    expected = server.text("lora", "a", max_tokens=30)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(server.chat, model, "a", max_tokens=30, temperature=heat, stream=stream)
            if model == "large"
            else pool.submit(server.chat, model, "a", max_tokens=30)
            for model in ("lora", "large", "lora", "large")
        ]
        answers = [one.result() for one in asked]
    texts = [a.json()["choices"][0]["message"]["content"] for a in answers[::2]]
    assert texts == [expected] * 2
    for failed in answers[1::2]:
        assert failed.status_code == (200 if stream else 500)
        assert "probabilities are not numbers (NaN)" in failed.text
    assert server.client.get("/health").status_code == 200


def test_when_the_thread_ends_everybody_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    ended: list[bool] = []
    monkeypatch.setattr(server.serving.worker, "_ended", ended.append)
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def broken(_: Continuous) -> list[Any]:
        raise MemoryError("no more")

    monkeypatch.setattr(Continuous, "step", broken)
    answer = server.chat("tiny", "a")
    assert answer.status_code == 503
    assert "its log says why" in answer.json()["error"]["message"]
    server.serving.worker._thread.join(10)
    assert server.client.get("/health").status_code == 503
    assert server.chat("tiny", "a").status_code == 503
    assert ended == [False]
    assert isinstance(raised[0].exc_value, MemoryError)
    with pytest.raises(DeadError):
        server.serving.worker.call(lambda: None)


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_text_much_too_long_is_refused_while_others_are_computed(
    serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("lora")
    holding, said = threading.Event(), "Which of these reviews is positive? " * 3000
    server.serving.worker.call(lambda: holding.wait(30))
    encoder, whole = server.held._of(None).encoder, list[int]()
    body = {"prompt": ["a", said]}
    if path == "chat/completions":
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        body = {"messages": [*turns, {"role": "user", "content": said}]}  # type: ignore[list-item]
    for name in ("encode_raw", "encode_chat"):
        read = getattr(type(encoder), name)

        def counted(self: Any, text: Any, *more: Any, read: Any = read) -> list[int]:
            ids = read(self, text, *more)
            whole.append(len(ids))
            return list(ids)

        monkeypatch.setattr(type(encoder), name, counted)
    answer = server.post(path, model="lora", max_tokens=3, **body)
    assert not holding.is_set()
    holding.set()
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert "more than 512 tokens and 3 are requested; there is room for 512" in error["message"]
    assert max(whole, default=0) < 10  # no more of it was read than tells


def test_a_fault_in_one_request_is_its_own(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()

    def broken(*_: Any, **__: Any) -> list[int]:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(server.held, "encode_chat", broken)
        answer = server.chat("tiny", "a")
    assert answer.status_code == 500
    assert "traceback" in answer.json()["error"]["message"]
    assert server.chat("tiny", "a", max_tokens=2).status_code == 200


def test_who_fills_the_queue_does_not_have_others_refused(serve: Serve) -> None:
    server = serve("lora", rows=1, waiting=8)
    worker, ids = server.serving.worker, server.held.encode_text(None, "a")
    long = Sampling(300, temperature=1.5, seed=3)

    def submit(adapter: str | None, user: str = "", count: int = 1) -> None:
        asked = [Asked(adapter, ids, long, k, user=user) for k in range(count)]
        answers.extend(worker.submit([(one, lambda _: None) for one in asked]))

    answers: list[Any] = []
    holding = threading.Event()
    worker.call(lambda: holding.wait(30))  # nothing is written meanwhile
    submit(None, count=8)
    with pytest.raises(BusyError, match="8 answers wait, of at most 8"):
        submit(None)
    submit(server.held.names[0], count=4)
    with pytest.raises(BusyError, match="12 answers wait"):
        submit(server.held.names[0])
    submit(None, "somebody", 2)
    with pytest.raises(BusyError):
        submit(None, "somebody")
    for number in range(2):
        submit(None, f"somebody {number}")
    with pytest.raises(BusyError, match="16 answers wait"):
        submit(None, "somebody else")
    worker.cancel(answers)
    holding.set()
    assert server.chat("lora", "a", max_tokens=2).status_code == 200
