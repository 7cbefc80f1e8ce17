"""LoRA for weights that are not linear layers: experts, and the routers that select them.

Every expert has its own pair: the stack W (E, O, I) becomes W_e + scale * B_e A_e. Stored as PEFT
stores its `target_parameters`: all A's concatenated by rows, B's columns ordered by rank, then by
expert; a second parameter of a module is one `base_layer` deeper.

Shapes: `E` experts, `O` outputs, `I` inputs, `R` rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from brulee.errors import InputError
from brulee.methods.lora_sizes import Size
from brulee.methods.wrapping import Wrapper
from brulee.models.expert_products import Correction, computes_as_known, experts_with
from brulee.models.experts import HELD, Stack, stacks_of


class LoRAParameters(Wrapper):
    """A module and low-rank corrections of some of its parameters.

    If the computation of the experts is known, the correction is added to each expert's output; any
    other module is called with corrected parameters.
    """

    by_token = False

    def __init__(
        self, base_layer: nn.Module, sizes: Mapping[str, Size], generator: torch.Generator
    ) -> None:
        super().__init__(base_layer)
        self.sizes = dict(sizes)
        self.stacks = {s.name: s for s in stacks_with(base_layer) if s.name in sizes}
        device = next(base_layer.parameters()).device
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        for name, stack in self.stacks.items():
            rank = sizes[name].rank
            # Drawn on the CPU so that a seed gives the same values on every device.
            a_ERI = torch.empty(stack.experts, rank, stack.inputs)
            a_ERI.uniform_(-1, 1, generator=generator)
            self.lora_A[name] = nn.Parameter((a_ERI / math.sqrt(stack.inputs)).to(device))
            b_EOR = torch.zeros(stack.experts, stack.outputs, rank, device=device)
            self.lora_B[name] = nn.Parameter(b_EOR)
        self._known = computes_as_known(base_layer)

    def __getattr__(self, name: str) -> Any:
        """Fall back to the wrapped module's attributes, as models read its sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output with its parameters corrected."""
        if not self.enabled:
            return self.base_layer(*args, **kwargs)
        if self._known and len(args) == 3 and not kwargs:
            up, down = (self._correction(n) for n in ("gate_up_proj", "down_proj"))
            up = up or self._correction("up_proj")
            return experts_with(self.base_layer, *args, up, down)
        corrected = {name: self._corrected(name) for name in self.stacks}
        return functional_call(self.base_layer, corrected, args, kwargs)

    def _correction(self, name: str) -> Correction | None:
        if name not in self.stacks:
            return None
        return Correction(self.lora_A[name], self.lora_B[name], self.sizes[name].scale)

    def _corrected(self, name: str) -> torch.Tensor:
        weight = self.base_layer.get_parameter(name)
        corrected: torch.Tensor = weight + self._product(name).to(weight.dtype)
        return corrected

    def _product(self, name: str) -> torch.Tensor:
        """Scale * B A in the parameter's layout."""
        product_EOI: torch.Tensor = self.lora_B[name] @ self.lora_A[name]
        product_EOI = self.sizes[name].scale * product_EOI
        if self.stacks[name].transposed:
            product_EOI = product_EOI.transpose(1, 2)
        return product_EOI.view_as(self.base_layer.get_parameter(name))

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The parameters with the corrections merged in, in fp32.

        Raises InputError if they are quantised.
        """
        if HELD in vars(self.base_layer):
            raise InputError("this base is quantised: merging needs the weights themselves.")
        return {
            name: self.base_layer.get_parameter(name).float() + self._product(name).float()
            for name in self.stacks
        }

    def stored(self) -> dict[str, torch.Tensor]:
        """The tensors to store, by their keys in the file."""
        found = {}
        for name, prefix in self._places().items():
            a_ERI, b_EOR = self.lora_A[name].detach(), self.lora_B[name].detach()
            found[f"{prefix}lora_A.weight"] = a_ERI.flatten(0, 1)
            found[f"{prefix}lora_B.weight"] = b_EOR.permute(1, 2, 0).flatten(1)
        return found

    def take(self, stored: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors, which must fit."""
        for name, prefix in self._places().items():
            a, b = self.lora_A[name], self.lora_B[name]
            a.data.copy_(stored[f"{prefix}lora_A.weight"].view_as(a))
            by_rank = stored[f"{prefix}lora_B.weight"].view(b.shape[1], b.shape[2], b.shape[0])
            b.data.copy_(by_rank.permute(2, 0, 1))

    def _places(self) -> dict[str, str]:
        """The key prefix of each parameter's pair: the last parameter is outermost."""
        return {name: "base_layer." * at for at, name in enumerate(reversed([*self.stacks]))}


def stacks_with(module: nn.Module) -> list[Stack]:
    """The stacked matrices of experts; for a router, its weight as a stack of one."""
    found = stacks_of(module)
    if found:
        return found
    outputs, inputs = module.get_parameter("weight").shape
    return [Stack("weight", 1, int(outputs), int(inputs), transposed=False)]
