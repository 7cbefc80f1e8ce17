"""Kernels in C in a process whose memory is limited to what it has, for test_kernels.py.

Prints a line per kernel: its name and the error of a call that needs 100 MB of its own.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from brulee.inference.held_in_c import STEP, WIDTH
from brulee.inference.same_bits import up
from brulee.models.attention_in_c import attend_in_c, table_of
from brulee.models.kernels import kernel
from brulee.models.spans import Span

KEYS = 200_000
SPANS = [Span(slice(0, 1), slice(0, KEYS), 0)]


@contextmanager
def no_more_memory() -> Iterator[None]:
    """Limit the address space to 20 MB more than is used."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + 20 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def report(name: str, run: Callable[[], object]) -> None:
    """Run, and print how that ends."""
    try:
        run()
    except Exception as error:
        print(name, type(error).__name__, error)
    else:
        print(name, "ran")


def attention() -> None:
    """One query to many keys, forward and, with enough memory before, backward."""
    q, k, v = (torch.randn(n, 1, 64, requires_grad=True) for n in (1, KEYS, KEYS))
    out = attend_in_c(q, k, v, table_of(SPANS), 0.1)
    assert out is not None
    grads = [torch.zeros_like(x) for x in (q, k, v)]
    total, common = torch.zeros(1, 1), torch.empty(2, 1, 0, 1, 64)
    inputs = [x.detach() for x in (q, k, v, out)]
    run = kernel("attend_backward", q)
    assert run is not None
    with no_more_memory():
        report("attend_forward", lambda: attend_in_c(q, k, v, table_of(SPANS), 0.1))
        table = table_of(SPANS)
        sizes = (1, 1, 1, 1, 64, 0, 0, 0.1)
        report("attend_backward", lambda: run(*inputs, out, total, table, *grads, *common, *sizes))


def generation() -> None:
    """A row of many tokens, with many query heads for a key head."""
    heads, room = 128, up(KEYS, STEP)
    query, new = torch.randn(1, heads, WIDTH), torch.randn(1, 1, WIDTH)
    keys, values = torch.zeros(1, 1, WIDTH, room), torch.zeros(1, 1, room, WIDTH)
    shared, at = torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, KEYS - 1]])
    run = kernel("attend_rows", query)
    assert run is not None
    sizes = (1, heads, 1, WIDTH, room, 0, 0.1)
    out = torch.empty_like(query)
    with no_more_memory():
        report("attend_rows", lambda: run(query, new, new, keys, values, shared, at, out, *sizes))


if __name__ == "__main__":
    attention()
    generation()
