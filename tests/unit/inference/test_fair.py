"""Who asks much does not keep others waiting, and who asked nothing has saved up nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.fair import FairQueue
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.loading import Base


def _served(queue: FairQueue[str], costs: dict[str, int], count: int) -> Iterator[str]:
    for _ in range(count):
        who = queue.take()
        queue.count(who, costs[who])
        yield who


def test_one_asker_is_served_in_the_order_in_which_it_asked() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(5):
        queue.add("a", number)
    assert [queue.first(), *[queue.take() for _ in range(5)]] == [0, 0, 1, 2, 3, 4]
    assert len(queue) == 0


def test_a_hundred_requests_do_not_keep_one_waiting() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.add("much", "much")
    list(_served(queue, {"much": 50}, 20))
    queue.add("little", "little")
    assert queue.first() == "little"


@pytest.mark.parametrize("costs", [{"a": 10, "b": 10, "c": 10}, {"a": 300, "b": 10, "c": 45}])
def test_those_who_wait_get_as_many_tokens_however_many_each_request_has(
    costs: dict[str, int],
) -> None:
    queue: FairQueue[str] = FairQueue()
    for who in costs:
        for _ in range(2000):
            queue.add(who, who)
    got: Counter[str] = Counter()
    while all(queue._waiting.get(who) for who in costs) and len(queue) > 3000:
        for who in _served(queue, costs, 1):
            got[who] += costs[who]
            assert max(got[w] for w in costs) - min(got[w] for w in costs) <= 2 * 300
    assert min(got.values()) > 3000


def test_who_comes_back_has_saved_up_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    costs = {"busy": 10, "seldom": 10}
    queue.add("seldom", "seldom")
    for _ in range(40):
        queue.add("busy", "busy")
    list(_served(queue, costs, 30))
    for _ in range(20):
        queue.add("seldom", "seldom")
    assert 4 <= list(_served(queue, costs, 10)).count("busy") <= 6


def test_what_is_not_wanted_is_forgotten_and_so_are_those_who_are_gone() -> None:
    queue: FairQueue[int] = FairQueue()
    draw = random.Random(0)
    for number in range(5000):
        queue.add(f"asker {number}", number)
        queue.count(f"asker {number}", draw.randrange(1, 1000))
        if number % 2:
            queue.keep(lambda n: n % 2 == 0)
            queue.take()
    assert len(queue._had) < 1100
    assert len(queue) == len(queue._waiting) == 0


def test_a_request_of_one_is_written_before_the_many_of_another(
    make_base: Callable[..., Base],
) -> None:
    held = Adapters(make_base("llama"))
    batch = Continuous(held.engine, Room(rows=2))
    many = [Job(Request(None, [5 + i] * 20), Sampling(6), who="many") for i in range(12)]
    one = Job(Request(None, [9] * 20), Sampling(6), who="one")
    for job in many:
        batch.add(job)
    batch.step()
    batch.add(one)
    while one.live is None or not one.live.ended:
        batch.step()
    assert sum(job.live is not None for job in many) <= 4
    while not batch.idle:
        batch.step()
    assert all(job.live is not None and job.live.ended for job in many)
