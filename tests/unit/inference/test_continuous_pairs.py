"""Requests to encoder-decoders that come at any time: answered together, each as it is alone."""

from __future__ import annotations

import random
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
_FOLDER = Path(__file__).parent
HELD = runpy.run_path(str(_FOLDER / "test_adapters.py"))["_held"]
_CONTINUOUS = runpy.run_path(str(_FOLDER / "test_continuous.py"))
JOBS, RUN, IDS = (_CONTINUOUS[name] for name in ("_jobs", "_run", "_ids"))
WAYS = ["lora", "dora", "houlsby", "ia3", "prompt", "prefix", "sparse", "lora too"]


def _alone(held: Adapters, job: Job) -> list[int]:
    """By the adapter's own view of the base, padded, which nothing joins."""
    name = job.request.adapter
    engine = held.engine.engines[name]
    held.engine.swap.use(name if name in held.engine.apart else None)
    found = engine.complete([job.request.prompt], job.sampling)[0].ids
    held.engine.swap.use(None)
    return list(found)


@pytest.mark.diagonal("name", "room")
@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("room", [Room(), Room(rows=3, tokens=400, pass_tokens=40)])
def test_whatever_is_answered_beside_it_a_text_is_the_one_it_is_alone(
    make_base: MakeBase, tmp_path: Path, name: str, room: Room
) -> None:
    held = HELD(make_base(name), tmp_path, WAYS)
    assert set(held.apart) == {"sparse"}
    jobs = JOBS(held, [None, *WAYS], 24)
    expected = [_alone(held, job) for job in jobs]
    assert len({tuple(ids) for ids in expected}) > 12
    batch = Continuous(held.engine, room)
    RUN(batch, jobs, random.Random(0))
    assert [IDS(job) for job in jobs] == expected
    assert batch.tokens == 0


def test_what_neither_streams_nor_joins_is_answered_one_by_one(
    make_base: MakeBase, tmp_path: Path
) -> None:
    held = HELD(make_base("mamba"), tmp_path, ["lora"])
    assert not held.engine.joins(None)
    assert "padded" in held.apart["lora"]
    jobs = JOBS(held, [None, "lora"], 6)
    expected = [_alone(held, job) for job in jobs]
    RUN(Continuous(held.engine, Room(rows=3)), jobs, random.Random(0))
    assert [IDS(job) for job in jobs] == expected


def _passes(model: torch.nn.Module, stack: str) -> list[int]:
    """Rows of each pass that a stack of this model makes from now on."""
    rows: list[int] = []

    def note(_: object, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        rows.append(len(kwargs["input_ids"]))

    model.get_submodule(stack).register_forward_pre_hook(note, with_kwargs=True)
    return rows


def test_prompts_are_read_and_tokens_written_in_passes_of_many_rows(make_base: MakeBase) -> None:
    held = Adapters(make_base("t5", eos_token_id=1))
    read, written = (_passes(held.base.model, stack) for stack in ("encoder", "decoder"))
    batch = Continuous(held.engine, Room())
    jobs = [Job(Request(None, [5 + i] * (3 + i)), Sampling(9)) for i in range(8)]
    for job in jobs:
        batch.add(job)
    while not batch.idle:
        batch.step()
        assert batch.running <= 8
    assert all(len(IDS(job)) == 9 for job in jobs)
    assert sum(read) == 8
    assert len(read) <= 3
    assert len(written) <= 9 + 2 * len(read)


def test_never_more_rows_nor_tokens_than_there_is_room_for(
    make_base: MakeBase, tmp_path: Path
) -> None:
    held = HELD(make_base("t5"), tmp_path, ["ia3", "sparse"])
    batch = Continuous(held.engine, Room(rows=5, tokens=300))
    names = [None, "ia3", "sparse"]
    jobs = [Job(Request(names[i % 3], [5 + i] * (60 - 3 * i)), Sampling(10 + i)) for i in range(15)]
    for job in jobs:
        batch.add(job)
    most, lanes = 0, 0
    while not batch.idle:
        batch.step()
        most, lanes = max(most, batch.running), max(lanes, len(batch._lanes))
        assert batch.tokens <= 300
    assert 2 <= most <= 5
    assert lanes == 2
    assert all(job.live is not None and job.live.ended for job in jobs)
    with pytest.raises(InputError, match=r"of 290 tokens and 20 new ones are .* the 300 that"):
        batch.add(Job(Request(None, [9] * 290), Sampling(20)))
    batch.add(Job(Request(None, [9] * 290), Sampling(10)))  # all there is
    while not batch.idle:
        batch.step()


def test_a_job_joins_at_the_next_token_and_leaves_when_cancelled(make_base: MakeBase) -> None:
    held = Adapters(make_base("bart"))
    batch = Continuous(held.engine, Room())
    long = Job(Request(None, [9, 8, 7]), Sampling(40, temperature=3.0, seed=4))
    expected = _alone(held, long)
    assert len(expected) > 8
    batch.add(long)
    for _ in range(3):
        batch.step()
    other = Job(Request(None, [9] * 30), Sampling(40, temperature=3.0, seed=5))
    batch.add(other)
    assert other in batch.step()
    assert batch.running == 2
    other.cancelled = True
    while not batch.idle:
        assert other not in batch.step()
        assert batch.running <= 1
    assert IDS(long) == expected


def test_an_answer_of_no_numbers_ends_alone(make_base: MakeBase) -> None:
    held = Adapters(make_base("t5-gated"))

    def break_sevens(_: object, __: object, named: dict[str, torch.Tensor], found: Any) -> None:
        found.last_hidden_state[(named["input_ids"] == 7).any(dim=1)] = float("nan")

    held.base.model.get_encoder().register_forward_hook(break_sevens, with_kwargs=True)
    batch = Continuous(held.engine, Room())
    jobs = [Job(Request(None, [9, i, 8]), Sampling(12)) for i in (6, 7, 5)]
    expected = [_alone(held, jobs[i]) for i in (0, 2)]
    for job in jobs:
        batch.add(job)
    while not batch.idle:
        batch.step()
    assert [job.live.broken is not None for job in jobs if job.live] == [False, True, False]
    assert [IDS(jobs[i]) for i in (0, 2)] == expected
