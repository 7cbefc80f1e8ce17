"""Tensors that FSDP may have cut up, for optimisers that need a matrix in one piece."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of it, in every process; they ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_as(parameter: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """This process's part of what every process has whole, cut up as the parameter is."""
    if isinstance(parameter, DTensor):
        mesh = parameter.device_mesh
        return distribute_tensor(whole, mesh, parameter.placements, src_data_rank=None)
    return whole
