"""Tensors that FSDP may have sharded, for optimisers that need whole matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def are_sharded(parameters: Sequence[torch.Tensor]) -> bool:
    """Whether parameters are sharded; those that are trained together all are, or none is."""
    return bool(parameters) and isinstance(parameters[0], DTensor)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor, in every process; a collective call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_as(parameter: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """This process's shard of a tensor that each process has in full, cut like the parameter."""
    if isinstance(parameter, DTensor):
        mesh = parameter.device_mesh
        return distribute_tensor(whole, mesh, parameter.placements, src_data_rank=None)
    return whole
