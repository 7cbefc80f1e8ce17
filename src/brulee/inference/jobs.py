"""A request on its way through `Continuous`: waiting, being read, being written.

    waits | is read, a pass at a time, or whole by an encoder | is written, with others | has ended

What is written of it goes through the model in a lane, together with what else is computed alike.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from brulee.inference.generation import Live, Order
from brulee.inference.joining import Arriving, JoinedRows
from brulee.inference.mixed import Request
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.sampling import Sampling


@dataclass(frozen=True)
class Room:
    """What is held at once: rows that are written, and tokens of theirs and of their prompts."""

    rows: int = 16
    tokens: int = 32_768
    pass_tokens: int = 256  # of prompts in a step, at their beginnings; half where others write
    kept_bytes: int = 0  # of keys and values for what begins alike


@dataclass(eq=False)
class Job:
    """A request on its way; `stream` numbers what it draws, `who` shares with others.

    `live` is what is written of it, and its first `spared` tokens were not read, but kept.
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

    @property
    def most(self) -> int:
        """Tokens that may be written."""
        assert self.order is not None, "a job has its order once it is added"
        return self.order.most

    @property
    def sizes(self) -> tuple[int, int]:
        """Tokens of its prompt, and that may be written."""
        return len(self.request.prompt), self.most


@dataclass(eq=False)
class Lane:
    """Rows that go through the model together, while an adapter is in force."""

    in_force: str | None
    decoder: PaddedDecoder | JoinedRows | PairRows
    jobs: list[Job]

    def live(self) -> list[Live]:
        """What is written of its jobs, in the order of its rows."""
        return [job.live for job in self.jobs if job.live is not None]


@dataclass(eq=False)
class Reading:
    """A prompt of which some is read; without `arriving` it is read with others of its voice."""

    job: Job
    arriving: Arriving | PaddedDecoder | None

    @property
    def left(self) -> int:
        """Tokens that are not read yet."""
        if isinstance(self.arriving, Arriving):
            return self.arriving.left
        return len(self.job.request.prompt)
