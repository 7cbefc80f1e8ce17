"""How many prompt tokens are prefilled between two generated tokens.

A pass has a fixed cost of some tokens, and a token costs more with depth, since it attends to all
tokens before it. Chunks are sized by that cost, so that every step takes about the same time.

    depth           0      2048     6144       of a model in which a token at 2048 costs two
    tokens read    128       64       32
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedModel

from brulee.inference.same_bits import ROWS

PASS: Final = 32  # a pass's fixed cost in tokens: 120 ms for 16 tokens of 2.3 ms each


@dataclass(frozen=True)
class Pace:
    """`twice`: the depth at which a token costs twice what it costs at the beginning."""

    twice: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> Pace:
        """Estimate from a model's sizes.

        A token takes two operations per parameter, and per layer four per unit of width and token
        before it, at two thirds of the speed (measured: SmolLM2-135M, on a CPU).
        """
        config = model.config.get_text_config()
        layers, width = (getattr(config, n, 0) for n in ("num_hidden_layers", "hidden_size"))
        if not isinstance(layers, int) or not isinstance(width, int) or not layers * width:
            return cls(2048.0)
        parameters = model.num_parameters(exclude_embeddings=True)
        return cls(max(1.0, parameters / (3 * layers * width)))

    def cost(self, tokens: int, depth: int) -> float:
        """The cost of reading `tokens` tokens at a depth, including the pass's fixed cost."""
        return PASS + tokens * (1 + depth / self.twice)

    def tokens(self, budget: float, depth: int) -> int:
        """Tokens to read at a depth, at least one; a multiple of ROWS if there are that many."""
        found = int(budget / (1 + depth / self.twice))
        return found - found % ROWS if found >= ROWS else max(1, found)
