"""What a step copies to a GPU is not waited for: the pass before it may still be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from brulee.inference.beams import _begun, _best
from brulee.inference.biases import Biases
from brulee.inference.generation import Live, Order, follow
from brulee.inference.held import HeldTensors
from brulee.inference.on_device import on_device
from brulee.inference.penalties import penalise
from brulee.inference.row import Row, Shared, Voice
from brulee.inference.sampling import Sampling

META, VOCABULARY = torch.device("meta"), 50
ORDER = Order(0, 8, (5, 6, 7), 0, frozenset({2}))


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records of every copy to another device whether it is waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waiting: list[bool] = []

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") == META:
            self.waiting.append(not kwargs.get("non_blocking"))
        return func(*args, **kwargs)


@contextmanager
def _until_it_is_read() -> Iterator[None]:
    """A meta tensor has no values; what would be read of it is the step's result."""
    with pytest.raises((NotImplementedError, RuntimeError), match=r"meta tensor|item"):
        yield


def _follow(logits_V: torch.Tensor) -> None:
    live = Live.begun(ORDER, Sampling(), lambda _: False, several=False)
    with _until_it_is_read():
        follow([live], [[]], logits_V[None])


def _penalise(logits_V: torch.Tensor) -> None:
    sampling = Sampling(repetition_penalty=1.5, frequency_penalty=1.0)
    penalise(logits_V, sampling, [5, 6], [7, 7])


def _bias(logits_V: torch.Tensor) -> None:
    Biases(((3, 1.0), (4, -1.0))).add_to(logits_V)


def _search(logits_V: torch.Tensor) -> None:
    with _until_it_is_read():
        _best([_begun(ORDER, 2)], logits_V.expand(2, VOCABULARY), 2)


def _begin(_: torch.Tensor) -> None:
    voice: Any = Voice(None, None)  # type: ignore[arg-type]
    HeldTensors(4, 8).begin([Row(Shared(), 0, 3, 3, voice)], [1], META)


@pytest.mark.parametrize("step", [_follow, _penalise, _bias, _search, _begin])
def test_a_step_does_not_wait_for_what_it_copies(step: Callable[[torch.Tensor], None]) -> None:
    logits_V = torch.zeros(VOCABULARY, device=META)
    with Copies() as copies:
        step(logits_V)
    assert copies.waiting
    assert not any(copies.waiting)


@pytest.mark.parametrize("values", [[3, 1], torch.tensor([3, 1]), torch.tensor([3, 1]).numpy()])
def test_numbers_and_tensors_keep_their_values(values: Any) -> None:
    found = on_device(values, torch.device("cpu"))
    assert (found.tolist(), found.dtype) == ([3, 1], torch.int64)
    assert on_device(values, torch.device("cpu"), torch.float32).dtype == torch.float32
