"""What is round the capture of a CUDA graph, with a stand-in for torch.cuda that notes calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from brulee.training.graphs import on_cuda

POOL = (0, 1)


class _Stream:
    def __init__(self, name: str, cuda: _Cuda) -> None:
        self.name, self._cuda = name, cuda

    def __repr__(self) -> str:
        return self.name

    def wait_stream(self, other: _Stream) -> None:
        self._cuda.said.append(f"{self} waits for {other}")


class _Generator:
    """Of random numbers, which are not drawn between captures while it is capturing."""

    def __init__(self, drawn: int, capturing: bool = False) -> None:
        self.drawn, self.capturing = drawn, capturing

    def clone_state(self) -> _Generator:
        return _Generator(self.drawn)

    def graphsafe_set_state(self, other: _Generator) -> None:
        self.drawn, self.capturing = other.drawn, other.capturing


class _Cuda:
    """A device whose captures can fail, and then leave behind what torch's do."""

    def __init__(self) -> None:
        self.now, self.mode, self.fails = _Stream("main", self), 0, False
        self.streams = 0
        self.capturing: list[tuple[int, int]] = []
        self.released: list[tuple[int, int]] = []
        self.said: list[str] = []
        self.generator = _Generator(drawn=7)

    def Stream(self) -> _Stream:  # noqa: N802
        self.streams += 1
        return _Stream(f"aside {self.streams}", self)

    def current_stream(self) -> _Stream:
        return self.now

    @contextmanager
    def stream(self, other: _Stream) -> Iterator[None]:
        before, self.now = self.now, other
        try:
            yield
        finally:
            self.now = before

    @contextmanager
    def graph(
        self, _: Any, pool: tuple[int, int], stream: _Stream, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local", "other threads may use the device"
        before, self.now = self.now, stream
        self.capturing.append(pool)
        self.generator.capturing = True
        self.said.append(f"captures on {stream}")
        yield
        if self.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error")
        self.capturing.remove(pool)
        self.now, self.generator.capturing = before, False

    @contextmanager
    def device(self, _: torch.device) -> Iterator[None]:
        yield

    def set_sync_debug_mode(self, mode: int | str) -> None:
        self.mode = 2 if mode == "error" else int(mode)

    def end(self, _: int, pool: tuple[int, int]) -> None:
        if pool not in self.capturing:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.capturing.remove(pool)


class _Graph:
    def replay(self) -> None:
        """Nothing."""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> _Cuda:
    found = _Cuda()
    given: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("Stream", "current_stream", "stream", "graph", "device", "set_sync_debug_mode")
    }
    given |= {
        "graph_pool_handle": lambda: POOL,
        "CUDAGraph": _Graph,
        "default_generators": (found.generator,),
        "current_device": lambda: 0,
        "get_sync_debug_mode": lambda: found.mode,
    }
    for name, stand_in in given.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", found.end, raising=False)
    monkeypatch.setattr(
        torch._C, "_cuda_releasePool", lambda _, pool: found.released.append(pool), raising=False
    )
    return found


def test_all_graphs_are_warmed_up_and_captured_on_one_stream(cuda: _Cuda) -> None:
    """cuBLAS keeps a workspace, of up to 32 MB, for every stream that it was used on."""
    record = on_cuda(torch.device("cuda", 0))
    seen: list[tuple[str, int]] = []
    for _ in range(3):
        record(lambda: seen.append((str(cuda.now), cuda.mode)))
    assert cuda.streams == 1
    # The second pass of a warm-up is the one in which nothing may wait.
    assert seen == [("aside 1", 0), ("aside 1", 2), ("aside 1", 0)] * 3
    once = ["aside 1 waits for main", "main waits for aside 1", "captures on aside 1"]
    assert cuda.said == once * 3
    assert (str(cuda.now), cuda.capturing) == ("main", [])


def test_what_waits_for_the_device_is_found_before_anything_is_captured(cuda: _Cuda) -> None:
    def waiting() -> None:
        if cuda.mode == 2:
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        on_cuda(torch.device("cuda", 0))(waiting)
    assert cuda.said == ["aside 1 waits for main", "main waits for aside 1"]
    assert (str(cuda.now), cuda.mode) == ("main", 0)


def test_a_capture_that_fails_leaves_the_stream_and_the_allocator_as_they_were(
    cuda: _Cuda,
) -> None:
    cuda.fails = True
    with pytest.raises(RuntimeError, match="previous error"):
        on_cuda(torch.device("cuda", 0))(lambda: None)
    assert (str(cuda.now), cuda.mode, cuda.capturing) == ("main", 0, [])
    assert (cuda.generator.drawn, cuda.generator.capturing) == (7, False)
    assert cuda.released == [POOL], "what was captured of a pass would never be given back"


def test_an_allocator_that_knows_of_the_end_is_told_in_vain(cuda: _Cuda) -> None:
    def no_memory() -> None:
        if cuda.capturing:
            cuda.capturing.clear()
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        on_cuda(torch.device("cuda", 0))(no_memory)
    assert cuda.released == [], "once is enough: the graph does it"
