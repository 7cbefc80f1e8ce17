"""Capture of a pass as a CUDA graph, such that a failure leaves the process intact.

A capture fails if the host waits for the device, and torch does not clean up completely: the
capture stream stays current, the generator of random numbers refuses to draw outside of a capture,
and before 2.13 the allocator believes the capture is still running and never frees memory again. So
synchronisation is detected in an uncaptured pass first, and the rest is cleaned up here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

Pass = Callable[[], None]
Record = Callable[[Pass], Pass]  # runs the pass a few times and returns a function that replays it


def on_cuda(device: torch.device) -> Record:
    """Record into one memory pool, shared by graphs that never run at the same time.

    Everything runs on one stream: cuBLAS keeps a workspace per stream, and would allocate a new one
    inside the graph's memory if warm-up had used another stream.
    """
    pool: Any = None
    aside: torch.cuda.Stream | None = None

    def record(run: Pass) -> Pass:
        nonlocal pool, aside
        with torch.cuda.device(device):
            pool = pool or torch.cuda.graph_pool_handle()
            aside = aside or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            _warm_up(run, aside)
            return _captured(run, aside, pool)

    return record


def _warm_up(run: Pass, aside: torch.cuda.Stream) -> None:
    """Let libraries do their first-use allocations, then check that nothing synchronises."""
    now = torch.cuda.current_stream()
    aside.wait_stream(now)
    try:
        with torch.cuda.stream(aside):
            run()
            with _never_waiting():
                run()
    finally:
        now.wait_stream(aside)


def _captured(run: Pass, aside: torch.cuda.Stream, pool: Any) -> Pass:
    graph = torch.cuda.CUDAGraph()
    now = torch.cuda.current_stream()
    try:
        # Other threads' CUDA calls (NCCL polls its events) must not fail the capture.
        recording = torch.cuda.graph(
            graph, pool=pool, stream=aside, capture_error_mode="thread_local"
        )
        with torch.cuda.stream(now), recording:
            run()
    except RuntimeError:
        # Refused if the allocator was informed already; the graph then releases its part of the
        # pool.
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())  # the same numbers, not capturing
        raise
    return graph.replay


@contextlib.contextmanager
def _never_waiting() -> Iterator[None]:
    """Raise RuntimeError where the host would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
