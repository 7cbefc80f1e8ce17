"""Rows of an output head that are trained while the rest of it is frozen.

Shapes: `N` trained rows, `V` vocabulary, `D` width, `C` positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn


@dataclass(frozen=True)
class HeadRows:
    """Rows (N, D) that stand in a head's weight (V, D) at `index` (N)."""

    index: torch.Tensor
    rows: torch.Tensor


class _HasRows(Protocol):
    base_layer: nn.Module

    def head_rows(self) -> HeadRows | None:
        """The rows; None if the head is now computed without them."""


def parted(head: Any) -> tuple[Any, HeadRows | None]:
    """A head's original module, and the trained rows in it, if it has any."""
    # Look on the class: a lookup on the instance goes through nn.Module and Protocol and is slow.
    if not hasattr(type(head), "head_rows"):
        return head, None
    own = cast("_HasRows", head)
    return own.base_layer, own.head_rows()
