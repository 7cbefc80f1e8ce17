"""The processes that train together: one, unless torchrun or accelerate started more.

A recipe does not set their number. Document i of each step goes to process i modulo their number,
and gradients are summed before they are used; so the effective batch, the losses and the
checkpoints are those of a single process.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist

from brulee.errors import InputError, StoppedError
from brulee.training.whole import are_sharded

T = TypeVar("T")
# Gradients are summed in buckets of this many values: few calls, little extra memory.
_BUCKET = 8_000_000
SHARDS = "ACCELERATE_USE_FSDP"
# One process may score for hours while the others wait.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class World:
    """This process among those that train together; `shards`: weights are sharded between them.

    `device` is where it computes, and what it exchanges lies, if there are several.
    """

    rank: int = 0
    size: int = 1
    shards: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of a step's items."""
        return items[self.rank :: self.size]

    def same(self, value: T) -> T:
        """The first process's value, for decisions that must not differ between processes."""
        if self.size == 1:
            return value
        held = [value]
        with self.in_contact():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: T) -> list[T]:
        """Every process's value, in order of rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self.in_contact():
            dist.all_gather_object(found, value)
        return found

    def most(self, number: int) -> int:
        """The maximum over the processes."""
        return max(self.gather(number))

    def wait(self) -> None:
        """Wait until every process gets here."""
        if self.size > 1:
            # PyTorch warns if it has to choose the GPU itself.
            own = [self.device.index] if self.device.type == "cuda" else None
            with self.in_contact():
                dist.barrier(device_ids=own)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            with self.in_contact():
                dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum unsharded gradients over the processes; FSDP has already reduced sharded ones."""
        if self.size == 1 or are_sharded(parameters):
            return
        for bucket in _buckets(parameters):
            flat = self.sum(torch.cat([_gradient(p).flatten() for p in bucket]))
            parts = torch.split(flat, [p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    @contextmanager
    def in_contact(self) -> Iterator[None]:
        """Raise StoppedError if a process ends, as when it is killed, while others wait for it.

        Around a call that exchanges anything; sharded layers do so in every pass.
        """
        try:
            yield
        except RuntimeError as error:
            # Gloo has no class of errors of its own.
            if not isinstance(error, dist.DistError) and "gloo" not in str(error):
                raise
            raise StoppedError(
                f"another of the {self.size} processes ended or cannot be reached; what it said "
                "last tells why. The same command goes on from the newest checkpoint."
            ) from error


ALONE: Final = World()


def sharing_processes() -> int:
    """How many processes the environment has share the weights; 1 if they are not sharded."""
    from accelerate.utils import parse_flag_from_env

    return int(os.environ.get("WORLD_SIZE", "1")) if parse_flag_from_env(SHARDS) else 1


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that this process was started in; may be entered several times in sequence.

    torchrun and accelerate describe it in the environment: WORLD_SIZE and so on, and for sharded
    weights ACCELERATE_USE_FSDP. Raises InputError if there are fewer GPUs than processes, or if
    `device` is one GPU for all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    _check_gpus(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    from accelerate import PartialState

    on_cpu = device.startswith("cpu") or not torch.cuda.is_available()
    # A process group cannot be created twice: it is destroyed at exit, by its creator.
    if not dist.is_initialized():
        atexit.register(_leave)
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    shards = sharing_processes() > 1
    world = World(state.process_index, state.num_processes, shards, state.device)
    with world.in_contact():
        yield world


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _check_gpus(device: str, here: int) -> None:
    """Check that each of the `here` processes on this machine has a GPU of its own.

    Skipped if the environment shows each process a different GPU.
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
    """Consecutive parameters of one dtype, at most _BUCKET values each (one may be larger)."""
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
    """The gradient; zero if this process's documents gave the parameter none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
