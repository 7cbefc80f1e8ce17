"""Requests that come at any time: each is answered as it is alone."""

from __future__ import annotations

import itertools
import json
import random
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference import generation
from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.json_form import json_form
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.inference.scored import Scored
from brulee.models.kernels import language
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
HELD = runpy.run_path(str(Path(__file__).with_name("test_adapters.py")))["_held"]
WAYS = ["lora", "dora", "bottleneck", "ia3", "prompt", "prefix", "sparse", "lora too"]
TEXTS = [
    "Which of these reviews is the most positive?",
    "The customer asked where the parcel was, and the agent sent a new one by express. " * 2,
    "a",
    "new one by new one by",
]
# Heads as wide as the loop in C takes them, and heads that it does not take.
SIZES: list[dict[str, Any]] = [{"hidden_size": 64}, {"hidden_size": 32}]


def _jobs(held: Adapters, names: list[str | None], count: int, seed: int = 0) -> list[Job]:
    draw = random.Random(seed)
    jobs = []
    for number in range(count):
        name, text = draw.choice(names), draw.choice(TEXTS)
        sampling = Sampling(
            draw.choice([1, 5, 12, 30]),
            temperature=draw.choice([0.0, 0.0, 0.8]),
            top_p=draw.choice([1.0, 0.9]),
            seed=number,
            stop=draw.choice([(), ("e",)]),
            top_k=draw.choice([0, 0, 7]),
            repetition_penalty=draw.choice([1.0, 1.0, 1.3]),
            presence_penalty=draw.choice([0.0, 0.0, 0.7]),
            biases=((41, 0.3), (70, -100.0)) if number % 3 == 1 else (),
        )
        ids = held._of(name).encode(text, "a prompt")
        jobs.append(Job(Request(name, ids), sampling))
    return jobs


def _run(batch: Continuous, jobs: list[Job], draw: random.Random) -> None:
    """Jobs come between steps, at random; some steps pass without any."""
    coming = list(jobs)
    while coming or not batch.idle:
        for _ in range(draw.choice([0, 0, 1, 1, 3])):
            if coming:
                batch.add(coming.pop(0))
        batch.step()


def _ids(job: Job) -> list[int]:
    assert job.live is not None
    assert job.live.ended
    return job.live.ids


def _alone(held: Adapters, job: Job) -> list[int]:
    return list(held.engine.complete([job.request], job.sampling)[0].ids)


@pytest.fixture(scope="module", params=SIZES)
def answered(
    make_base: MakeBase, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Adapters, list[list[int]]]:
    """Adapters, not to be changed, and what each of twenty jobs is answered alone."""
    held = HELD(make_base("llama", **request.param), tmp_path_factory.mktemp("adapters"), WAYS)
    expected = [_alone(held, job) for job in _jobs(held, [None, *WAYS], 20)]
    assert len({tuple(ids) for ids in expected}) > 12
    return held, expected


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("room", [Room(rows=3, tokens=600, pass_tokens=7), Room()])
def test_whatever_is_answered_beside_it_a_text_is_the_one_it_is_alone(
    answered: tuple[Adapters, list[list[int]]], room: Room
) -> None:
    held, expected = answered
    names = [None, *WAYS]
    batch = Continuous(held.engine, room)
    for seed in range(2 if room.rows > 3 else 1):  # with little room there are many steps
        jobs = _jobs(held, names, 20)
        order = list(range(20))
        random.Random(seed).shuffle(order)
        _run(batch, [jobs[i] for i in order], random.Random(seed))
        assert [_ids(job) for job in jobs] == expected


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("name", ["qwen3", "gemma", "gpt2", "gpt-neox", "mistral", "t5"])
def test_in_every_kind_of_model(make_base: MakeBase, tmp_path: Path, name: str) -> None:
    ways = ["lora", "ia3", "sparse"]
    held = HELD(make_base(name), tmp_path, ways)
    jobs = _jobs(held, [None, *ways], 8)
    expected = [_alone(held, job) for job in jobs]
    _run(Continuous(held.engine, Room(rows=4, pass_tokens=9)), jobs, random.Random(1))
    assert [_ids(job) for job in jobs] == expected


def test_logits_are_the_same_to_the_bit_however_a_prompt_is_cut(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama", hidden_size=64))
    ids = held._of(None).encode(TEXTS[1] * 3, "a prompt")
    found = []
    for tokens in (512, 7, 16, 33):
        batch = Continuous(held.engine, Room(pass_tokens=tokens))
        job = Job(Request(None, ids), Sampling(6, temperature=1.0, seed=3))
        batch.add(job)
        while not batch.idle:
            batch.step()
        found.append(_ids(job))
    assert found[1:] == found[:-1]


def test_a_job_joins_at_the_next_token_and_leaves_when_cancelled(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama"))
    batch = Continuous(held.engine, Room())
    ids = held._of(None).encode("The customer asked", "a prompt")
    long = Job(Request(None, ids), Sampling(40, temperature=2.0, seed=4))
    long_alone = _alone(held, long)
    assert len(long_alone) > 12
    batch.add(long)
    for _ in range(3):
        batch.step()
    other = Job(Request(None, ids[:4]), Sampling(40, temperature=2.0, seed=5))
    batch.add(other)
    assert other in batch.step()
    assert batch.running == 2
    other.cancelled = True
    while not batch.idle:
        assert other not in batch.step()
    assert _ids(long) == long_alone


def test_what_does_not_fit_is_refused_with_its_numbers(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama"))
    batch = Continuous(held.engine, Room(tokens=40))
    with pytest.raises(InputError, match=r"of 30 tokens and 20 new ones are .* the 40 that"):
        batch.add(Job(Request(None, [9] * 30), Sampling(20)))
    with pytest.raises(InputError, match="601 tokens is too long: this model reads at most 512"):
        batch.add(Job(Request(None, [9] * 600), Sampling(20)))
    with pytest.raises(InputError, match="a prompt is empty"):
        batch.add(Job(Request(None, []), Sampling(20)))
    assert batch.idle


@pytest.mark.parametrize("sizes", SIZES)
def test_never_more_rows_nor_tokens_than_there_is_room_for(
    make_base: MakeBase, sizes: dict[str, Any]
) -> None:
    held = Adapters(make_base("llama", **sizes))
    batch = Continuous(held.engine, Room(rows=5, tokens=300))
    jobs = [Job(Request(None, [5 + i] * 40), Sampling(20 + i)) for i in range(12)]
    for job in jobs:
        batch.add(job)
    most = 0
    while not batch.idle:
        batch.step()
        most = max(most, batch.running)
        assert batch.tokens <= 300
    assert 2 <= most <= 5
    assert all(job.live is not None and job.live.ended for job in jobs)
    assert torch.is_grad_enabled()


_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": -99, "maximum": 99}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow), "bart"])
def test_answers_held_to_a_schema_change_no_other_beside_them(
    make_base: MakeBase, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("llguidance")
    ways = ["lora", "ia3", "sparse"]
    held = HELD(make_base(name), tmp_path, ways)
    form = json_form(held.base.tokenizer, _SCHEMA)
    plain = _jobs(held, [None, *ways], 12)
    held_to = [
        Job(job.request, replace(job.sampling, form=form, max_new_tokens=40, stop=()))
        for job in _jobs(held, [None, *ways], 12, seed=1)
    ]
    expected = [_alone(held, job) for job in plain]
    within = [_alone(held, job) for job in held_to]
    mixed = [job for pair in zip(plain, held_to, strict=True) for job in pair]
    _run(Continuous(held.engine, Room(rows=6, pass_tokens=20)), mixed, random.Random(2))
    assert [_ids(job) for job in plain] == expected
    assert [_ids(job) for job in held_to] == within
    whole = [job for job in held_to if job.live is not None and not job.live.cut]
    assert len(whole) > 3
    for job in whole:
        found = json.loads(held.base.tokenizer.decode(_ids(job), skip_special_tokens=True))
        assert isinstance(found["a"], int)


def _by_likelihood(held: Adapters, name: str | None, ids: list[int], first: int) -> list[float]:
    """The log-probabilities of ids from `first` on, by what scores texts."""
    documents = [Encoded.ending(ids[:end], end - first) for end in range(first + 1, len(ids) + 1)]
    held.engine.swap.use(name)
    found = held.engine.engines[name].loglikelihood(documents)
    held.engine.swap.use(None)
    sums = [0.0, *(one.log_probability for one in found)]
    return [after - before for before, after in itertools.pairwise(sums)]


def _is_scored(scores: list[Scored], ids: list[int], expected: list[float], likeliest: int) -> None:
    assert [one.token for one in scores] == ids
    assert [one.log_probability for one in scores] == pytest.approx(expected, abs=1e-4)
    for one in scores:
        values = [value for _, value in one.likeliest]
        assert values == sorted(values, reverse=True)
        assert len({token for token, _ in one.likeliest}) == likeliest
        assert dict(one.likeliest).get(one.token, one.log_probability) == one.log_probability


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"hidden_size": 64}),
        ("gpt2", {}),
        ("mamba", {}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
                   "max_position_embeddings": 48}),
        ("t5", {}),
        pytest.param("bart", {}, marks=pytest.mark.slow),
    ],
    ids=["llama", "gpt2", "mamba", "angles that change", "t5", "bart"],
)  # fmt: skip
def test_tokens_are_scored_as_texts_are_whatever_is_written_beside_them(
    make_base: MakeBase, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    ways = ["lora", *{"llama": ["prompt"], "gpt2": ["prefix"]}.get(name, [])]
    held = HELD(make_base(name, **changes), tmp_path, ways)
    jobs = _jobs(held, [None, *ways], 8, seed=4)
    expected = [_alone(held, job) for job in jobs]
    asking = jobs[::2]
    for job in asking:
        job.likeliest, job.reads_back = len(job.request.prompt) % 4, held.base.kind != "seq2seq"
    _run(Continuous(held.engine, Room(pass_tokens=20, kept_bytes=2**20)), jobs, random.Random(1))
    assert [_ids(job) for job in jobs] == expected
    ended = 0
    for job in jobs:
        assert job.live is not None
        if job not in asking:
            assert job.live.scores == job.prompt_scores == []
            continue
        prompt, ids = list(job.request.prompt), [one.token for one in job.live.scores]
        own = len(held._of(job.request.adapter).encoder.prefix_ids)
        if held.engine.engines[job.request.adapter].stretches(len(prompt)):
            continue
        ended += ids != job.live.ids
        assert ids in (job.live.ids, [*job.live.ids, ids[-1]])  # what ended it is scored too
        found = _by_likelihood(held, job.request.adapter, [*prompt, *ids], len(prompt))
        _is_scored(job.live.scores, ids, found, job.likeliest or 0)
        if job.reads_back:
            found = _by_likelihood(held, job.request.adapter, prompt, max(1, own))
            scores = job.prompt_scores[max(0, own - 1) :]
            _is_scored(scores, prompt[max(1, own) :], found, job.likeliest or 0)
    assert any(job.likeliest for job in asking)


def test_what_is_guessed_rightly_or_cached_is_scored_the_same(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama", hidden_size=64))
    guesses = language(held.base.device) == "C"  # elsewhere a row takes one token in a pass
    ids = held._of(None).encode(TEXTS[3] * 4, "a prompt")
    batch = Continuous(held.engine, Room(kept_bytes=2**20))
    found: list[Job] = []
    for reads_back in (True, False, True):
        job = Job(Request(None, ids), Sampling(60), likeliest=2, reads_back=reads_back)
        batch.add(job)
        steps = 0
        while not batch.idle:
            batch.step()
            steps += 1
        assert job.live is not None
        # Several tokens were right in one pass.
        assert (steps < len(job.live.ids) - 5) == guesses
        found.append(job)
    fresh, cached, again = found
    assert fresh.live is not None and cached.live is not None  # noqa: PT018
    with torch.no_grad():
        text = torch.tensor([[*ids, *(one.token for one in fresh.live.scores)]])
        log_TV = held.base.model(text).logits[0].log_softmax(-1)
    for start, scores in ((1, fresh.prompt_scores), (len(ids), fresh.live.scores)):
        tops = log_TV[start - 1 :].topk(2)
        for at, one in enumerate(scores):
            assert one.token == text[0, start + at]
            assert one.log_probability == pytest.approx(
                float(log_TV[start - 1 + at, one.token]), abs=1e-4
            )
            assert [value for _, value in one.likeliest] == pytest.approx(
                tops.values[at].tolist(), abs=1e-4
            )
    assert cached.spared
    assert cached.live.scores == fresh.live.scores
    assert (again.spared, again.prompt_scores) == (0, fresh.prompt_scores)


def test_who_asks_for_no_scores_pays_for_none(
    make_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, rows = Adapters(make_base("llama", hidden_size=64)), list[int]()
    ids = held._of(None).encode(TEXTS[0], "a prompt")

    def counted(logits_NV: torch.Tensor, *more: Any) -> list[Scored]:
        rows.append(len(logits_NV))
        return scored(logits_NV, *more)

    scored = generation.scored
    monkeypatch.setattr(generation, "scored", counted)
    batch = Continuous(held.engine, Room())
    jobs = [Job(Request(None, ids), Sampling(9), likeliest=n) for n in (None, 0, None)]
    _run(batch, jobs, random.Random(0))
    assert jobs[1].live is not None
    assert rows == [1] * len(jobs[1].live.scores)


@pytest.mark.parametrize("told", ["running", "tokens"])
def test_another_thread_may_count_while_lanes_come_and_go(told: str) -> None:
    batch = object.__new__(Continuous)

    class Leaving:
        tokens = 1

        @property
        def jobs(self) -> list[int]:
            batch._lanes.clear()
            return [1]

        @property
        def decoder(self) -> Any:
            batch._lanes.clear()
            return self

    batch._lanes = {number: Leaving() for number in range(2)}  # type: ignore[misc]
    assert getattr(batch, told) == 2
