"""A request's states in `Continuous`: waiting, prefill, generation.

    waiting | read, a pass at a time, or whole by an encoder | generated, with others | ended

Rows are generated in lanes: those of one lane go through the model together.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from brulee.inference.generation import Live, Order
from brulee.inference.joining import Arriving, JoinedRows
from brulee.inference.mixed import Request
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.sampling import Sampling
from brulee.inference.scored import Scored, scored


@dataclass(frozen=True)
class Room:
    """Limits on what is held at once: rows, and tokens of their prompts and completions."""

    rows: int = 16
    tokens: int = 32_768
    pass_tokens: int = 256  # prefilled in a step, at depth 0; half of that while rows are generated
    kept_bytes: int = 0  # of keys and values in the prefix cache


@dataclass(eq=False)
class Job:
    """A request; `stream` numbers its random stream, `who` is the client for fair scheduling.

    `live` is its row once it is generated; its first `spared` prompt tokens came from the cache.
    With `likeliest`, its tokens are scored with so many others; with `reads_back`, its prompt's
    too, from the second on, in `prompt_scores`.
    """

    request: Request
    sampling: Sampling
    stream: int = 0
    who: Hashable = None
    spared: int = 0
    counted: int = 0
    order: Order | None = None
    live: Live | None = None
    cancelled: bool = False
    likeliest: int | None = None
    reads_back: bool = False
    prompt_scores: list[Scored] = field(default_factory=list)

    def score_prompt(self, logits_NV: torch.Tensor) -> None:
        """Score the prompt's next tokens by logits after the token before each of them.

        Trained ids, past the vocabulary, have no probability.
        """
        assert self.likeliest is not None, "a prompt that is scored says with how many others"
        start = 1 + len(self.prompt_scores)
        tokens = list(self.request.prompt[start : start + len(logits_NV)])
        trained = [token for token in tokens if token >= logits_NV.shape[-1]]  # they come first
        self.prompt_scores += [Scored(token, None) for token in trained]
        self.prompt_scores += scored(
            logits_NV[len(trained) :], tokens[len(trained) :], self.likeliest
        )

    @property
    def most(self) -> int:
        """The most new tokens."""
        assert self.order is not None, "a job has its order once it is added"
        return self.order.most

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of tokens of its prompt, and the most new ones."""
        return len(self.request.prompt), self.most


@dataclass(eq=False)
class Lane:
    """Rows that go through the model together, while adapter `in_force` is active."""

    in_force: str | None
    decoder: PaddedDecoder | JoinedRows | PairRows
    jobs: list[Job]

    def live(self) -> list[Live]:
        """Its jobs' rows, in order."""
        return [job.live for job in self.jobs if job.live is not None]


@dataclass(eq=False)
class Reading:
    """A prompt being read; without `arriving` it is read whole, with others of its voice."""

    job: Job
    arriving: Arriving | PaddedDecoder | None

    @property
    def left(self) -> int:
        """Number of tokens not read yet."""
        if isinstance(self.arriving, Arriving):
            return self.arriving.left
        return len(self.job.request.prompt)
