"""Some rows of an embedding and of the output head, trained while all others stay frozen.

    ids    17  4  N        N: a token whose row is trained
            |  |  |
    table  [row][row] row N of `rows`         embedding
    head   z = W h, with z_N = row N . h      logits

A stored row replaces the table's, as in PEFT's trainable tokens, so that it does not matter what a
base has there. A head that shares the embedding's weight shares its trained rows too.

Shapes: `N` trained rows, `V` vocabulary, `D` width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from brulee.methods.linear import weight_of
from brulee.methods.wrapping import Wrapper
from brulee.models.head_rows import HeadRows


class RowsOfEmbedding(Wrapper):
    """An embedding whose rows `index` (N, sorted) are those of `rows` (N, D).

    `factor` is what the embedding multiplies its rows with.
    """

    index: torch.Tensor

    def __init__(
        self, base_layer: nn.Module, index_N: torch.Tensor, rows: nn.Parameter, factor: float
    ) -> None:
        super().__init__(base_layer)
        self.rows, self._factor = rows, factor
        self.register_buffer("index", index_N, persistent=False)

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Ids x (...) and their vectors (..., D) -> (..., D)."""
        count = len(self.rows)
        at = torch.searchsorted(self.index, x).clamp_(max=count - 1)
        trained = self.index[at] == x
        # Other tokens look up a zero row that gets no gradient: this avoids a GPU synchronisation.
        table = F.pad(self.rows, (0, 0, 0, 1))
        found = F.embedding(at.masked_fill(~trained, count), table, padding_idx=count)
        return torch.where(trained.unsqueeze(-1), (found * self._factor).to(out.dtype), out)

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The table with the trained rows, in fp32."""
        return {"weight": _with_rows(self.base_layer, self.index, self.rows)}


class RowsOfHead(Wrapper):
    """A head whose rows `index` (N, sorted) are those of `rows` (N, D)."""

    index: torch.Tensor

    def __init__(self, base_layer: nn.Module, index_N: torch.Tensor, rows: nn.Parameter) -> None:
        super().__init__(base_layer)
        self.rows = rows
        self.register_buffer("index", index_N, persistent=False)

    def head_rows(self) -> HeadRows | None:
        """The rows, for a loss that computes the logits itself; None while they are disabled."""
        return HeadRows(self.index, self.rows) if self.enabled else None

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Hidden states x (..., D) and the base's logits (..., V), overwritten -> (..., V)."""
        logits = F.linear(x, self.rows.to(x.dtype))
        if self.bias is not None:
            logits = logits + self.bias[self.index]
        return out.index_copy_(-1, self.index, logits.to(out.dtype))

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The head's weight with the trained rows, in fp32."""
        return {"weight": _with_rows(self.base_layer, self.index, self.rows)}


def _with_rows(table: nn.Module, index_N: torch.Tensor, rows_ND: torch.Tensor) -> torch.Tensor:
    weight_VD = weight_of(table).float()
    return weight_VD.index_copy(0, index_N, rows_ND.float())
