"""A base's weights, with gradients and moments if they are trained, sharded between processes.

That is FSDP2 (Zhao et al. 2023). What a method adds is small, and every process holds all of it.

`torch.distributed.fsdp.fully_shard` gathers a layer's weights just before use and frees them
afterwards, by hooks on the modules it was given. Losses, trials and generation bypass the model's
own forward, so the outermost of these modules is one that calls any function.

    the host of the first process    all weights, mapped or read
    a device                         its shard of every layer, and what is outside of layers
      in a pass                      + a layer gathered, + what is outside of layers gathered

The model is on the CPU when it is sharded, where only the first process has to hold its values
(models/hollow.py). It hands each process its part, a tensor at a time, so that no device ever holds
more than a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.shard_layers import shard_layers
from brulee.training.world import World

T = TypeVar("T")
_DONE = -1


class Sharded(nn.Module):
    """A model with every layer sharded, in which anything can be computed."""

    def __init__(self, model: PreTrainedModel, world: World) -> None:
        super().__init__()
        self.model, self._world = model, world

    def forward(self, call: Callable[..., T], *given: Any) -> T:
        """What `call` gives, which may use the model by its modules; all processes must do so.

        What is outside of the layers is gathered meanwhile.
        """
        return call(*given)

    @torch.no_grad()
    def asked(self, call: Callable[..., T], *given: Any) -> T:
        """The same without a graph; afterwards nothing is gathered."""
        self.reshard()
        try:
            found: T = self(call, *given)
        finally:
            self.reshard()
        return found

    def led(self, work: Callable[[], T]) -> T | None:
        """What `work` gives in the first process, with which the others only gather layers.

        All must call it. It computes what it likes, in an order of its own: before a layer is
        gathered, the others are told which. None in those.
        """
        return self.asked(self._lead, work) if self._world.writes else self.asked(self._follow)

    def refuse(self, check: Callable[[], object]) -> None:
        """Raise in all processes the InputError that a check raises in the first one."""

        def checked() -> InputError | None:
            try:
                check()
            except InputError as error:
                return error
            return None

        refusal = self._world.same(self.led(checked))
        if refusal is not None:
            raise refusal

    def reshard(self) -> None:
        """Free what a pass has left gathered."""
        for part in (m for m in self.modules() if isinstance(m, FSDPModule)):
            FSDPModule.reshard(part)

    def _lead(self, work: Callable[[], T]) -> T:
        with ExitStack() as leading:
            leading.callback(self._tell, _DONE)
            for number, layer in enumerate(self._layers()):
                hook = partial(_first, partial(self._tell, number))
                leading.callback(layer.register_forward_pre_hook(hook, prepend=True).remove)
            return work()

    def _follow(self) -> None:
        layers = self._layers()
        while (number := self._tell()) != _DONE:
            layers[number].unshard()
            layers[number].reshard()

    def _tell(self, number: int = _DONE) -> int:
        """The first process's number, in every process."""
        told = torch.tensor(number, device=self._world.device)
        dist.broadcast(told, src=0)
        return number if self._world.writes else int(told)

    def _layers(self) -> list[Any]:
        return [m for m in self.model.modules() if isinstance(m, FSDPModule)]


def shard(
    model: PreTrainedModel, world: World, replicated: Collection[nn.Parameter] = ()
) -> Sharded:
    """Shard a model that is on the CPU, and move each process's part to its device.

    All values come from the first process. Each has all of the parameters that are `replicated`.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    whole, apart = Sharded(model, world), set(replicated)
    for layer in shard_layers(model):
        _shard(layer, mesh, apart)
    _shard(whole, mesh, apart)
    for tensor in _unsharded(model, replicated):
        tensor.data = tensor.data.to(world.device, copy=True).contiguous()
        # As bytes, since gloo does not know every dtype.
        dist.broadcast(tensor.data.reshape(-1).view(torch.uint8), src=0)
    return whole


def _first(tell: Callable[[], object], layer: FSDPModule, *_: object) -> None:
    """A hook before a layer's own that gathers its weights.

    A trial that failed inside the layer has left them gathered, in this process only.
    """
    layer.reshard()
    tell()


@torch.no_grad()
def _shard(module: nn.Module, mesh: DeviceMesh, apart: set[nn.Parameter]) -> None:
    """Shard what is not sharded yet of a module, with the values of the first process."""
    values = {}
    for name, parameter in module.named_parameters():
        if not isinstance(parameter, DTensor) and parameter not in apart:
            parameter.data = parameter.data.contiguous()  # FSDP takes no others
            values[name] = parameter.data
    fully_shard(module, mesh=mesh, ignored_params=apart)
    own = dict(module.named_parameters())
    device = torch.device(mesh.device_type)
    for name in list(values):
        parameter = own[name]
        assert isinstance(parameter, DTensor), "it was not one before"
        given = values.pop(name).to(device)
        part = distribute_tensor(given, mesh, parameter.placements, src_data_rank=0)
        parameter.to_local().copy_(part.to_local())


def _unsharded(
    model: PreTrainedModel, replicated: Iterable[nn.Parameter]
) -> Iterator[torch.Tensor]:
    """Each parameter and buffer of which every process has all."""
    plain = (p for p in model.parameters() if not isinstance(p, DTensor))
    held = {id(t): t for t in (*replicated, *plain, *model.buffers())}
    yield from held.values()


def gathered(model: PreTrainedModel, writes: bool) -> dict[str, torch.Tensor]:
    """The full weights on the CPU, shared tensors once; {} in a process that does not write.

    A device holds one of them at a time.
    """
    found: dict[str, torch.Tensor] = {}
    full: dict[int, torch.Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in full:
            held = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            full[id(tensor)] = held.detach().cpu() if writes else held.new_empty(0)
        if writes:
            found[name] = full[id(tensor)]
    return found
