"""Where a prefix's keys and values come from: trained directly, or computed by a small network.

Shapes: `P` prefix positions, `C` values per position, `W` width of a position's vector.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn


class PrefixSource(nn.Module, ABC):
    """Returns the values of a prefix, (P, C)."""

    count: int  # P

    @abstractmethod
    def forward(self) -> torch.Tensor:
        """The values, (P, C)."""

    @abstractmethod
    def take(self, values_PC: torch.Tensor) -> None:
        """Load stored values, which must fit."""


class DirectPrefix(PrefixSource):
    """Every value is a trained parameter."""

    def __init__(self, start_PC: torch.Tensor) -> None:
        super().__init__()
        self.count = len(start_PC)
        self.prompt_embeddings = nn.Parameter(start_PC.clone())

    def forward(self) -> torch.Tensor:
        """The values, (P, C)."""
        return self.prompt_embeddings

    @torch.no_grad()
    def take(self, values_PC: torch.Tensor) -> None:
        """Load stored values, which must fit."""
        self.prompt_embeddings.copy_(values_PC)


class ProjectedPrefix(PrefixSource):
    """Fixed values plus a two-layer network's output for trained vectors: Li and Liang's MLP.

    The network is merged away when stored. If there are initial values, the last layer starts at
    zero, so that the model first sees exactly these; otherwise it is initialised as in PEFT.
    """

    def __init__(
        self,
        start_PC: torch.Tensor,
        width: int,
        hidden: int,
        generator: torch.Generator,
        from_nothing: bool,
    ) -> None:
        super().__init__()
        self.count, columns = start_PC.shape
        device = start_PC.device
        self.register_buffer("start", start_PC.clone(), persistent=False)
        self.start: torch.Tensor
        drawn_PW = torch.randn(self.count, width, generator=generator)
        self.vectors = nn.Parameter(drawn_PW.to(device))
        self.inner = nn.Linear(width, hidden, device=device)
        self.outer = nn.Linear(hidden, columns, device=device)
        for layer in (self.inner, self.outer):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in (layer.weight, layer.bias):
                drawn = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.data.copy_(drawn * bound)
        if not from_nothing:
            self._silence()

    def forward(self) -> torch.Tensor:
        """The values, (P, C)."""
        made_PC: torch.Tensor = self.outer(torch.tanh(self.inner(self.vectors)))
        return self.start + made_PC

    @torch.no_grad()
    def take(self, values_PC: torch.Tensor) -> None:
        """Load stored values as the fixed ones: the network cannot be recovered from them."""
        self.start.copy_(values_PC)
        self._silence()

    def _silence(self) -> None:
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
