"""What is predicted of memory and time: counted parts, probed ones, and how they are scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.methods.accounting import Count
from brulee.planning import micro_batch
from brulee.planning.cost import cost
from brulee.planning.live import LiveBytes
from brulee.planning.memory import memory
from brulee.planning.micro_batch import fitting_tokens
from brulee.planning.probe import Probe, probe
from brulee.recipe import MethodSpec

DOCUMENTS = [Encoded.ending(tuple(range(5, 45)), 8), Encoded.ending(tuple(range(50, 80)), 6)]


def test_live_bytes_are_the_most_at_one_time(one_thread: None) -> None:
    there = torch.ones(1000)
    with LiveBytes([there]) as live:
        first = there + 1  # 4,000 bytes
        second = first + 1  # 8,000 at once
        del first
        third = second + 1  # 8,000 again
        third.add_(1)
        third.view(10, 100)
    assert live.peak == 8000
    assert live.now == 8000


def test_live_bytes_see_the_backward_pass(one_thread: None) -> None:
    weight = torch.ones(1000, requires_grad=True)
    with LiveBytes([weight]) as live:
        torch.autograd.backward((weight * 2).exp().sum())
        assert weight.grad is not None
    assert live.now == 4000, "the gradient, which the backward pass made"


def probed(make_base: Callable[..., Any], layers: int, method: str, accumulates: bool) -> Probe:
    base = make_base("llama", num_hidden_layers=layers)
    attached = build_method(MethodSpec(name=method)).attach(base.model)
    return probe(base, layers, attached, DOCUMENTS, accumulates, False)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_depths_tell_a_third(make_base: Callable[..., Any], method: str) -> None:
    one, three = (probed(make_base, layers, method, True) for layers in (1, 3))
    real = probed(make_base, 8, method, True)
    assert one.deeper(three, 8).live_bytes == pytest.approx(real.live_bytes, rel=0.1)
    assert one.deeper(one, 1) == one


def test_gradients_left_by_a_pass_before_are_not_counted_twice(
    make_base: Callable[..., Any],
) -> None:
    first = probed(make_base, 2, "full", False)
    later = probed(make_base, 2, "full", True)
    assert later.live_bytes <= first.live_bytes


COUNT = Count("lora", "LoRA", 100, 0.1, 500, gradient_bytes=400, optimizer_bytes=800)


def parts(live: int, accumulates: bool, trained_in_base: bool = False) -> dict[str, int]:
    found = memory(
        COUNT,
        Probe(4, 1.0, 0.1, live, 7),
        base_bytes=10_000,
        trained_in_base=trained_in_base,
        vocabulary=50,
        learned=2,
        accumulates=accumulates,
    )
    return {**found.__dict__, "total": found.total}


def test_memory_is_the_sum_of_its_parts() -> None:
    found = parts(3000, accumulates=True)
    assert found["weights"] == 10_400
    assert (found["gradients"], found["optimizer"], found["runtime"]) == (400, 800, 7)
    assert found["logits"] == 2 * 4 * 2 * 50
    assert found["activations"] == 3000 - 800
    assert found["total"] == 10_400 + 400 + 800 + 3000 + 7
    assert parts(3000, accumulates=True, trained_in_base=True)["weights"] == 10_000


def test_a_single_pass_makes_its_gradients_among_the_rest() -> None:
    assert parts(3000, accumulates=False)["total"] == parts(2600, accumulates=True)["total"]


def test_a_checkpoint_may_be_the_highest_moment() -> None:
    assert parts(100, accumulates=True)["saving"] == 800 - 400 - 100
    assert parts(3000, accumulates=True)["saving"] == 0


def test_time_grows_with_tokens_and_steps() -> None:
    whole = Probe(4, 2.0, 0.5, 0)
    found = cost(COUNT, whole, pass_tokens=100, tokens=1000, steps=4, checkpoints=3)
    assert found.seconds == pytest.approx(10 * 2.0 + 4 * 0.5)
    assert (found.result_bytes, found.checkpoint_bytes) == (500, 3 * 1200)


def test_less_memory_makes_smaller_passes(
    make_base: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_base("llama").model
    found = []
    for free in (10**9, 10**8, 0):
        monkeypatch.setattr(micro_batch, "room", lambda _, free=free: free)
        found.append(fitting_tokens(model, [], torch.device("cpu")))
    assert found[0] == pytest.approx(10 * found[1], rel=0.01)
    assert found[2] == 256
