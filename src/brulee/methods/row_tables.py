"""A table with a row per token, some of which are trained: an embedding, a head, or both at once.

Shapes: `N` trained rows, `D` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.linear import weight_of
from brulee.methods.lora_embedding import LoRAEmbedding, row_factor
from brulee.methods.lora_layer import LoRALinear
from brulee.methods.peft_config import PREFIX
from brulee.methods.token_rows import RowsOfEmbedding, RowsOfHead

STORED = "token_adapter.trainable_tokens_delta"  # PEFT's name for the rows


@dataclass(frozen=True)
class Table:
    """Modules that share a weight, by path, the first giving the stored name; and the rows' ids."""

    paths: tuple[str, ...]
    index: torch.Tensor  # (N), sorted
    order: torch.Tensor  # (N): the place in the file of each
    ids: tuple[int, ...]  # in the file's order
    start: torch.Tensor  # (N, D) in fp32
    factors: Mapping[str, float]  # of embeddings
    words: bool  # whether it is the input's

    @classmethod
    def of(
        cls, model: PreTrainedModel, modules: Mapping[str, nn.Module], ids: Sequence[int]
    ) -> Table:
        """The table of these modules, with rows for `ids` in the file's order.

        Raises InputError for an id that it has no row for, or twice, and for a quantised weight.
        """
        words = model.get_input_embeddings()
        paths = sorted(modules, key=lambda path: modules[path] is not words)  # stable
        weight = weight_of(modules[paths[0]])
        if not weight.is_floating_point():
            raise InputError(
                f"method.train_tokens: {paths[0]!r} is quantised, and its rows cannot be trained."
            )
        for i in ids:
            if i >= len(weight):
                raise InputError(
                    f"method.train_tokens: no token {i}; the model has rows for {len(weight)}."
                )
        if len(set(ids)) < len(ids):
            raise InputError(f"method.train_tokens: {list(ids)} names a token twice.")
        index = torch.tensor(sorted(ids), device=weight.device)
        order = torch.searchsorted(index, torch.tensor(ids, device=weight.device))
        factors = {
            path: row_factor(module, f"method.train_tokens: {path!r}")
            for path, module in modules.items()
            if isinstance(module, nn.Embedding)
        }
        with torch.no_grad():
            start = weight[index].float().clone()
        return cls(
            tuple(paths), index, order, tuple(ids), start, factors, modules[paths[0]] is words
        )

    @property
    def key(self) -> str:
        """The name of its rows in the file."""
        return f"{PREFIX}{self.paths[0]}.{STORED}"


def wrapped(
    module: nn.Module, path: str, table: Table, rows: nn.Parameter
) -> RowsOfEmbedding | RowsOfHead:
    """The module at a path of a table, or what a method made of it, with the trained rows."""
    factor = table.factors.get(path)
    if factor is None:
        return RowsOfHead(module, table.index, rows)
    return RowsOfEmbedding(module, table.index, rows, factor)


def check_free(path: str, module: nn.Module) -> None:
    """Refuse a module whose rows a LoRA corrects too."""
    if isinstance(module, LoRAEmbedding | LoRALinear):
        raise InputError(
            f"method.target: {path!r} has rows of tokens that are trained by themselves; leave it "
            "out of the target."
        )


def leaf_of(model: PreTrainedModel, path: str) -> str:
    """The last part of a path, by which PEFT finds a module; the whole if others have it too."""
    leaf = path.rsplit(".", 1)[-1]
    alike = [n for n, _ in model.named_modules() if n == leaf or n.endswith(f".{leaf}")]
    return leaf if alike == [path] else path
