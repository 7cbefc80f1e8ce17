"""What is read between two tokens takes about as long at any depth; long prompts let others by."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.joining import Arriving
from brulee.inference.mixed import Request
from brulee.inference.pace import PASS, Pace
from brulee.inference.sampling import Sampling
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
HELD = runpy.run_path(str(Path(__file__).with_name("test_adapters.py")))["_held"]


def test_tokens_are_fewer_the_deeper_they_stand_and_one_at_least() -> None:
    pace = Pace(2048.0)
    assert [pace.tokens(128, depth) for depth in (0, 2048, 3 * 2048)] == [128, 64, 32]
    assert [pace.tokens(b, 0) for b in (0.2, 3, 15, 16, 31, 33)] == [1, 3, 15, 16, 16, 32]
    assert pace.cost(64, 2048) == PASS + 128


def test_the_depth_that_doubles_a_token_is_that_of_the_models_sizes(make_base: MakeBase) -> None:
    base = make_base("llama", hidden_size=64)
    layers, width = base.model.config.num_hidden_layers, base.model.config.hidden_size
    inner = sum(p.numel() for p in base.model.model.layers.parameters())
    assert Pace.of(base.model).twice == pytest.approx(inner / (3 * layers * width), rel=0.5)
    assert Pace.of(make_base("gpt2").model).twice > 1


@pytest.fixture
def batch(make_base: MakeBase, monkeypatch: pytest.MonkeyPatch) -> Continuous:
    """One that reads 64 tokens in a step, or 32 where somebody writes."""
    held = Adapters(make_base("llama", hidden_size=64))
    batch = Continuous(held.engine, Room(pass_tokens=64))
    monkeypatch.setattr(batch, "_pace", Pace(100.0))
    return batch


def _job(length: int, most: int = 40, token: int = 5, who: str = "") -> Job:
    drawn = Sampling(most, temperature=3.0, seed=token)
    return Job(Request(None, [token + i % 7 for i in range(length)]), drawn, who=who)


def test_while_others_write_a_long_prompt_is_read_a_little_at_a_time(
    batch: Continuous, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, long = _job(5, most=60), _job(400)
    batch.add(writes)
    batch.step()
    costs, read = list[float](), Arriving._read

    def counted(arriving: Arriving, tokens: int, *more: object) -> object:
        costs.append(tokens * (1 + arriving.read / 100))
        return read(arriving, tokens, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Arriving, "_read", counted)
    batch.add(long)
    written = []
    while long.live is None:
        before = len(costs)
        batch.step()
        assert len(costs) <= before + 1
        assert writes.live is not None
        written.append(len(writes.live.ids))
    assert max(costs) <= 32
    assert written == sorted(set(written))  # a token or more of the other between every two passes


def test_a_short_prompt_overtakes_a_long_one_which_is_read_on_all_the_same(
    batch: Continuous,
) -> None:
    long, shorts = _job(400), [_job(12, most=2, token=50 + i % 100) for i in range(300)]
    batch.add(long)
    batch.step()
    steps = 0
    while long.live is None:
        batch.add(shorts[steps])  # there is always one that is shorter
        batch.step()
        steps += 1
    assert all(job.live is not None for job in shorts[: steps // 2 - 1])
    alone = Continuous(batch._engine, batch.room)
    alone._pace = Pace(100.0)
    again = _job(400)
    alone.add(again)
    needed = 0
    while again.live is None:
        alone.step()
        needed += 1
    assert steps <= 2 * 2 * needed + 8  # half as much in a step, and half of the steps


def test_a_prompt_that_is_no_shorter_does_not_overtake(batch: Continuous) -> None:
    first, second = _job(200), _job(200, token=9)
    batch.add(first)
    batch.add(second)
    while first.live is None:
        batch.step()
    assert second.live is None
    while not batch.idle:
        batch.step()


@pytest.mark.parametrize(("hidden", "way"), [(64, "sparse"), (32, None)])
def test_those_who_are_read_in_turns_never_take_more_room_than_there_is(
    make_base: MakeBase, tmp_path: Path, hidden: int, way: str | None
) -> None:
    held = HELD(make_base("llama", hidden_size=hidden), tmp_path, ["sparse"])
    batch = Continuous(held.engine, Room(rows=4, tokens=300, pass_tokens=20))
    jobs = []
    for i in range(10):
        job = _job([120, 10, 60, 20][i % 4], most=[8, 20, 50][i % 3], token=3 + i)
        name = way if i % 2 else None
        jobs.append(Job(Request(name, job.request.prompt), job.sampling, who=i % 5))
    overtaken = 0
    for job in jobs:
        batch.add(job)
        for _ in range(2):
            batch.step()
            assert batch.tokens <= 300
            overtaken += len(batch._readings) > 1
    while not batch.idle:
        batch.step()
        assert batch.tokens <= 300
        assert batch.running + len(batch._readings) <= 4
        overtaken += len(batch._readings) > 1
    assert overtaken
    for job in jobs:
        assert job.live is not None
        assert job.live.ids == list(held.engine.complete([job.request], job.sampling)[0].ids)


def test_who_is_cancelled_while_it_is_read_leaves_the_other(batch: Continuous) -> None:
    long, short = _job(400), _job(100, token=9)
    batch.add(long)
    batch.step()
    batch.add(short)
    batch.step()
    assert [one.job for one in batch._readings] == [long, short]
    long.cancelled = True
    while not batch.idle:
        assert long not in batch.step()
    assert short.live is not None
    assert short.live.ids == list(batch._engine.complete([short.request], short.sampling)[0].ids)


def test_what_was_kept_of_a_long_prompt_is_laid_aside_in_parts(
    make_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.inference.joining._LAID", 50)
    held = Adapters(make_base("llama", hidden_size=64))
    batch = Continuous(held.engine, Room(kept_bytes=2**22))
    first, again = _job(400), _job(400)
    found = []
    for job in (first, again):
        batch.add(job)
        steps = 0
        while not batch.idle:
            batch.step()
            steps += 1
        assert job.live is not None
        found.append(job.live.ids)
    assert again.spared > 350
    assert (
        found[0] == found[1] == list(held.engine.complete([first.request], first.sampling)[0].ids)
    )
