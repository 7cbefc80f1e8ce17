"""A linear layer and its low-rank correction: plain LoRA, DoRA (weight-decomposed) or PiSSA.

                 x (..., I)
            .----------+----------.
            |                     |
       W (O, I) frozen       A (R, I)   random
            |                     |
            |                B (O, R)   zero at the start
            |                     |  * scale
            '----------+----------'
                  y (..., O)  * magnitude / |W + scale B A|, with DoRA only

Shapes: `I` inputs, `O` outputs, `R` rank, `N` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from brulee.methods.linear import is_transposed, oriented, sizes, weight_of
from brulee.methods.lora_sizes import Size
from brulee.methods.lora_start import principal
from brulee.methods.wrapping import Wrapper
from brulee.models.dropping import dropped
from brulee.models.linear_parts import LinearParts, parts_of


class LoRALinear(Wrapper):
    """A linear layer and its low-rank correction; `base_layer` keeps the frozen original.

    `dora` trains the magnitude of each output's weights separately from their direction (Liu et al.
    2024, "DoRA: Weight-Decomposed Low-Rank Adaptation"). `pissa` starts from the weight's largest
    singular directions and subtracts that start in the forward pass, so that the base never
    changes.
    """

    start_a: torch.Tensor | None
    start_b: torch.Tensor | None
    squares: torch.Tensor | None
    lora_magnitude_vector: nn.Parameter | None

    def __init__(
        self,
        base_layer: nn.Module,
        size: Size,
        dropout: float,
        generator: torch.Generator,
        dora: bool = False,
        pissa: str | None = None,
        stored: bool = False,
    ) -> None:
        super().__init__(base_layer)
        device = weight_of(base_layer).device
        outputs, inputs = sizes(base_layer)
        self.rank, self.scale, self.dropout = size.rank, size.scale, dropout
        # Drawn on the CPU so that a seed gives the same values on every device.
        a_RI = torch.empty(size.rank, inputs).uniform_(-1, 1, generator=generator)
        self.lora_A = nn.Parameter((a_RI / math.sqrt(inputs)).to(device))
        self.lora_B = nn.Parameter(torch.zeros(outputs, size.rank, device=device))
        self._start_at(pissa, stored)
        self._decompose(dora)

    def _start_at(self, pissa: str | None, stored: bool) -> None:
        """Start at the weight's principal part; `pissa` is the module's path, for messages.

        A `stored` start will be loaded: it is not computed.
        """
        a_RI, b_OR = None, None
        if pissa is not None and stored:
            a_RI, b_OR = torch.zeros_like(self.lora_A.data), torch.zeros_like(self.lora_B.data)
        elif pissa is not None:
            a_RI, b_OR = principal(oriented(self.base_layer), self.rank, self.scale, pissa)
            self.lora_A.data, self.lora_B.data = a_RI.clone(), b_OR.clone()
        self.register_buffer("start_a", a_RI, persistent=False)
        self.register_buffer("start_b", None if b_OR is None else -b_OR, persistent=False)

    def _decompose(self, dora: bool) -> None:
        square_O = oriented(self.base_layer).detach().float().square().sum(1) if dora else None
        self.register_buffer("squares", square_O, persistent=False)
        with torch.no_grad():
            length_O = self._length(*self.factors()) if dora else None
        magnitude = None if length_O is None else nn.Parameter(length_O)
        self.register_parameter("lora_magnitude_vector", magnitude)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X (..., I) -> (..., O)."""
        if not self.enabled:
            out: torch.Tensor = self.base_layer(x)
            return out
        x_NI = x.reshape(-1, x.shape[-1])
        out_NO = self.after(x_NI, self.base_layer(x_NI))
        return out_NO.view(*x.shape[:-1], out_NO.shape[-1])  # not -1: N may be 0

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """X (N, I) and W x (N, O), which is overwritten -> (N, O)."""
        if self.dropout and self.training:
            x = dropped(x, self.dropout)
        a_RI, b_OR = self.factors()
        h_NR = F.linear(x, a_RI.to(x.dtype))
        # In place: nothing else uses the base's output, and a frozen linear layer does not save it.
        if self.lora_magnitude_vector is not None and self.bias is not None:
            out.sub_(self.bias)
        out.addmm_(h_NR, b_OR.to(x.dtype).T, alpha=self.scale)
        if self.lora_magnitude_vector is not None:
            gain_O = self._gain(a_RI, b_OR).to(out.dtype)
            bias = self.bias
            out = out * gain_O if bias is None else torch.addcmul(bias, out, gain_O)
        return out

    def linear_parts(self) -> LinearParts | None:
        """W, bias, A and B; None if these do not describe the layer (DoRA, PiSSA)."""
        if not self.enabled:
            return parts_of(self.base_layer)
        base = parts_of(self.base_layer)
        if base is None or self.lora_magnitude_vector is not None or self.start_a is not None:
            return None
        share = self.dropout if self.training else 0.0
        return replace(base, a=self.lora_A, b=self.lora_B, scale=self.scale, dropout=share)

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B as applied and stored; PiSSA's, of rank 2 R, include the subtracted start."""
        if self.start_a is None or self.start_b is None:
            return self.lora_A, self.lora_B
        return torch.cat([self.lora_A, self.start_a]), torch.cat([self.lora_B, self.start_b], 1)

    def _gain(self, a_RI: torch.Tensor, b_OR: torch.Tensor) -> torch.Tensor:
        """The factor of each output; the norm is a constant for the gradient (section 4.3)."""
        with torch.no_grad():
            length_O = self._length(a_RI, b_OR)
        assert self.lora_magnitude_vector is not None, "only a decomposed weight has a gain"
        gain_O: torch.Tensor = self.lora_magnitude_vector / length_O
        return gain_O

    def _length(self, a_RI: torch.Tensor, b_OR: torch.Tensor) -> torch.Tensor:
        """|W + scale B A| of each output, without materialising the sum (O x I values)."""
        assert self.squares is not None, "only a decomposed weight has lengths"
        weight_OI = oriented(self.base_layer)
        cross_OR = (weight_OI @ a_RI.T.to(weight_OI.dtype)).to(b_OR.dtype)
        own_OR = b_OR @ (a_RI @ a_RI.T)
        square_O = ((2 * self.scale) * cross_OR + self.scale**2 * own_OR).mul_(b_OR).sum(1)
        return (square_O + self.squares).clamp_min(torch.finfo(torch.float32).tiny).sqrt()

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The weight with the correction merged in, in the base's layout, in fp32."""
        a_RI, b_OR = (factor.float() for factor in self.factors())
        weight_OI = oriented(self.base_layer).float() + self.scale * (b_OR @ a_RI)
        if self.lora_magnitude_vector is not None:
            weight_OI *= self._gain(a_RI, b_OR)[:, None]
        return {"weight": weight_OI.T if is_transposed(self.base_layer) else weight_OI}

    def stored(self) -> dict[str, torch.Tensor]:
        """The tensors to store, by their keys in the file."""
        a_RI, b_OR = self.factors()
        found = {"lora_A.weight": a_RI, "lora_B.weight": b_OR}
        if self.lora_magnitude_vector is not None:
            found["lora_magnitude_vector"] = self.lora_magnitude_vector
        return {key: tensor.detach() for key, tensor in found.items()}

    def take(self, stored: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors, which must fit."""
        a_RI, b_OR = stored["lora_A.weight"], stored["lora_B.weight"]
        self.lora_A.data.copy_(a_RI[: self.rank])
        self.lora_B.data.copy_(b_OR[:, : self.rank])
        if self.start_a is not None and self.start_b is not None:
            self.start_a.copy_(a_RI[self.rank :])
            self.start_b.copy_(b_OR[:, self.rank :])
        if self.lora_magnitude_vector is not None:
            self.lora_magnitude_vector.data.copy_(stored["lora_magnitude_vector"])
