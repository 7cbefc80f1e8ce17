"""An embedding and its low-rank correction; a tied output head is not changed.

Shapes: `V` vocabulary, `D` width, `R` rank. A is zero and B random at the start, as in PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from brulee.errors import InputError
from brulee.methods.linear import weight_of
from brulee.methods.lora_sizes import Size
from brulee.methods.wrapping import Wrapper


class LoRAEmbedding(Wrapper):
    """An embedding table and its low-rank correction; `base_layer` keeps the frozen original.

    A head tied to the table is unchanged, because the correction is not written into the table.
    Raises InputError for a module that does more than look up.
    """

    def __init__(
        self, base_layer: nn.Embedding, size: Size, generator: torch.Generator, name: str
    ) -> None:
        super().__init__(base_layer)
        weight_VD = weight_of(base_layer)
        self.scale, self._padding = size.scale, base_layer.padding_idx
        self._factor = row_factor(base_layer, f"method.target: {name!r}")
        tokens, width = weight_VD.shape
        b_DR = torch.randn(width, size.rank, generator=generator)
        self.lora_embedding_A = nn.Parameter(
            torch.zeros(size.rank, tokens, device=weight_VD.device)
        )
        self.lora_embedding_B = nn.Parameter(b_DR.to(weight_VD.device))

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Ids x (...) and their vectors (..., D) -> (..., D)."""
        h = F.embedding(x, self.lora_embedding_A.T, self._padding)
        correction = (h @ self.lora_embedding_B.T) * (self.scale * self._factor)
        return out + correction.to(out.dtype)

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The table with the correction merged in, in fp32."""
        correction_VD = (self.lora_embedding_B.float() @ self.lora_embedding_A.float()).T
        return {"weight": weight_of(self.base_layer).float() + self.scale * correction_VD}

    def stored(self) -> dict[str, torch.Tensor]:
        """The tensors to store, by their keys in the file."""
        return {
            "lora_embedding_A": self.lora_embedding_A.detach(),
            "lora_embedding_B": self.lora_embedding_B.detach(),
        }

    def take(self, stored: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors, which must fit."""
        for key, tensor in self.stored().items():
            tensor.copy_(stored[key])


@torch.no_grad()
def row_factor(embedding: nn.Embedding, called: str) -> float:
    """The factor that a table applies to its rows, as Gemma's does; tried on a small one.

    Raises InputError, beginning with what the table is `called`, if it does more than look up.
    """
    weight_VD = weight_of(embedding)
    if weight_VD.is_meta:  # only counting parameters: nothing can be computed
        return 1.0
    ids = torch.tensor([[2, 1]], device=weight_VD.device)
    rows = torch.arange(weight_VD.shape[0], device=weight_VD.device, dtype=weight_VD.dtype)
    table_VD = rows[:, None].expand_as(weight_VD)
    refusal = InputError(f"{called} does more than look up rows of a table.")
    try:
        found = functional_call(embedding, {"weight": table_VD}, (ids,))
    except (LookupError, RuntimeError, TypeError, ValueError):
        raise refusal from None  # Marian's positions take a shape, not ids
    factor = found.flatten()[-1].item()
    expected = factor * torch.tensor([2.0, 1.0], device=found.device, dtype=found.dtype)
    if found.shape != (1, 2, weight_VD.shape[1]) or not torch.equal(
        found, expected[None, :, None].expand_as(found)
    ):
        raise refusal
    return float(factor)
