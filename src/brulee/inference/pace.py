"""How much of prompts is read between two tokens of what is being written.

A pass costs as much as some tokens, however few it has, and a token more the deeper it stands: its
attention is to all before it. So that a step takes about as long whatever is read in it, tokens are
counted as many as they cost.

    depth           0      2048     6144       of a model in which a token at 2048 costs two
    tokens read    128       64       32
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedModel

from brulee.inference.same_bits import ROWS

PASS: Final = 32  # tokens that a pass costs beside its own: 120 ms of 2.3 ms each, with 16 of them


@dataclass(frozen=True)
class Pace:
    """`twice`: the depth at which a token costs twice what it costs at the beginning."""

    twice: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> Pace:
        """By a model's sizes.

        A token takes two operations for each parameter of a layer, and four for each of its width
        and each token before it, at two thirds of the speed (measured: SmolLM2-135M, on a CPU).
        """
        config = model.config.get_text_config()
        layers, width = (getattr(config, n, 0) for n in ("num_hidden_layers", "hidden_size"))
        if not isinstance(layers, int) or not isinstance(width, int) or not layers * width:
            return cls(2048.0)
        parameters = model.num_parameters(exclude_embeddings=True)
        return cls(max(1.0, parameters / (3 * layers * width)))

    def cost(self, tokens: int, depth: int) -> float:
        """What so many tokens cost that are read at a depth, the pass included."""
        return PASS + tokens * (1 + depth / self.twice)

    def tokens(self, budget: float, depth: int) -> int:
        """How many may be read at a depth, at least one; of many, what fills a pass evenly."""
        found = int(budget / (1 + depth / self.twice))
        return found - found % ROWS if found >= ROWS else max(1, found)
