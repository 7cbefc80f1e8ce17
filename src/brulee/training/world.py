"""The processes that train together: one, unless torchrun or accelerate started more.

A recipe does not say how many there are. Each step's documents are dealt out, document i of the
step to process i modulo their number, and the gradients are summed before anything is made of them;
so the effective batch, the losses and the checkpoints are those of a single process.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist

from brulee.errors import InputError

T = TypeVar("T")
# Gradients are summed in pieces of this many values: few calls, little extra memory.
_BUCKET = 8_000_000
# One process may score for hours while the others wait.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class World:
    """This process among those that train together; `shards` cuts the weights up between them."""

    rank: int = 0
    size: int = 1
    shards: bool = False

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of a step."""
        return items[self.rank :: self.size]

    def same(self, value: T) -> T:
        """The first process's value, for what each could decide differently."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: T) -> list[T]:
        """Every process's value, in their order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def most(self, number: int) -> int:
        """The highest of the processes' numbers."""
        return max(self.gather(number))

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            dist.barrier()

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up whole gradients over the processes; of sharded weights that is done already."""
        if self.size == 1 or self.shards:
            return
        for bucket in _buckets(parameters):
            flat = self.sum(torch.cat([_gradient(p).flatten() for p in bucket]))
            parts = torch.split(flat, [p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)


ALONE: Final = World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that this process was started in; one after another may be joined.

    torchrun and accelerate name it in the environment: WORLD_SIZE and the like, and for sharded
    weights ACCELERATE_USE_FSDP. Raises InputError where there is no GPU for each of them, or
    `device` is one GPU for all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    _check_gpus(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = device.startswith("cpu") or not torch.cuda.is_available()
    # A group cannot be made twice: it is left when the process ends, and by who made it.
    if not dist.is_initialized():
        atexit.register(_leave)
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    yield World(
        state.process_index, state.num_processes, parse_flag_from_env("ACCELERATE_USE_FSDP")
    )


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _check_gpus(device: str, here: int) -> None:
    """Each of the processes `here`, on this machine, takes the GPU of its own number.

    Unless the environment shows each of them another one.
    """
    if here > 1 and device.startswith("cuda:"):
        raise InputError(
            f"train.device: {device!r} is one GPU, and each of several processes takes its own; "
            "valid with several: auto, cuda, cpu."
        )
    gpus = 0 if device.startswith("cpu") else torch.cuda.device_count()
    if 0 < gpus < here and "CUDA_VISIBLE_DEVICES" not in os.environ:
        raise InputError(
            f"{here} processes were started on this machine, which shows {gpus} GPUs; "
            f"start at most {gpus}, one for each, or set train.device to cpu."
        )


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Neighbours of one number format, so many values together at most (one may be longer)."""
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for parameter in parameters:
        other = bool(bucket) and bucket[0].dtype != parameter.dtype
        if bucket and (other or size + parameter.numel() > _BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Zero where this process's documents gave a parameter none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
