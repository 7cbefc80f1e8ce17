"""A pass captured as a CUDA graph, so that what goes wrong leaves the process as it was.

A capture ends in an error where the host waits for the device, and torch does not undo all that it
has begun: the stream stays the current one, and before 2.13 the allocator takes the capture to go
on, so that no memory is given back any more. Waiting is therefore looked for in a pass that is not
captured, and the rest is put right here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

Pass = Callable[[], None]
Record = Callable[[Pass], Pass]  # computes the pass a few times, and gives what replays it


def on_cuda(device: torch.device) -> Record:
    """Records in one pool of memory, which graphs that never run together share.

    All of it on one stream: cuBLAS keeps a workspace for each that it has ever computed on, and
    what was warmed up on another would be made inside the graph's memory.
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
    """Have libraries allocate what they do at their first use, then see that nothing waits."""
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
        # What other threads do meanwhile (NCCL's looks at its events) is theirs, and no error.
        recording = torch.cuda.graph(
            graph, pool=pool, stream=aside, capture_error_mode="thread_local"
        )
        with torch.cuda.stream(now), recording:
            run()
    except RuntimeError:
        # Refused where the allocator knows already, and the graph gives its part of the pool back.
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
        raise
    return graph.replay


@contextlib.contextmanager
def _never_waiting() -> Iterator[None]:
    """Raises RuntimeError where the host would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
