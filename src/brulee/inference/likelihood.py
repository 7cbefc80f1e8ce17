"""Log-likelihoods of tokens given the tokens before them, with common prefixes read once.

Requests are laid out as one stream (branches.py), which is read in passes. Logits are computed only
at positions where a token is scored, and once for all tokens scored there: all one-token answers of
a question cost one position.

Shapes: `M` scored tokens, `N` positions that predict them, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedModel

from brulee.data.encoding import Encoded
from brulee.errors import NotNumbersError
from brulee.inference.branches import Ints, Stream, lay_out
from brulee.inference.on_device import on_device
from brulee.inference.path_reader import PathReader

# Of a token with the logit -inf: less than any that is possible, and finite, as statistics and JSON
# have to be.
_IMPOSSIBLE: Final = -1e4
# Rows of logits that are in fp32 at once: those of a GPU's pass of 8,192 tokens are 8 GB.
_TOGETHER: Final = 1024


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-probability (natural log) of a completion, its token count, and whether it is greedy.

    A token that the model never writes counts as one of e^-10000.
    """

    log_probability: float
    tokens: int
    greedy: bool


Note = Callable[[int, Likelihood], None]


@dataclass(frozen=True)
class _Points:
    """Which position of the stream (M, ascending) predicts which token (M) of which request (M)."""

    positions: Ints
    targets: Ints
    owners: Ints


class Tally:
    """Sums up each request's scored tokens; calls `note` when a request is complete."""

    def __init__(self, requests: Sequence[Encoded], note: Note) -> None:
        self._missing = [r.learned for r in requests]
        self._sums = [0.0] * len(requests)
        self._greedy = [True] * len(requests)
        self._requests, self._note = requests, note

    def add(self, owner: int, log_probability: float, greedy: bool) -> None:
        """Add a request's next token, in order, so that sums are reproducible."""
        self._sums[owner] += log_probability
        self._greedy[owner] &= greedy
        self._missing[owner] -= 1
        if not self._missing[owner]:
            tokens = self._requests[owner].learned
            self._note(owner, Likelihood(self._sums[owner], tokens, self._greedy[owner]))


def score_stream(
    model: PreTrainedModel, requests: Sequence[Encoded], tokens: int, note: Note
) -> None:
    """Call `note` with each request's likelihood; a pass reads at most `tokens` tokens.

    Raises ValueError for a request whose first token is scored: nothing predicts it.
    """
    if not requests:
        return
    stream = lay_out([read_part(r) for r in requests], [_first(r) for r in requests])
    points, tally = _points(requests, stream), Tally(requests, note)
    reader = PathReader(model, stream)
    for part in stream.passes(0, len(stream.ids), tokens):
        inside = slice(*np.searchsorted(points.positions, (part.start, part.stop)).tolist())
        rows, row_of = np.unique(points.positions[inside] - part.start, return_inverse=True)
        logits_NV = reader.read(part, on_device(rows, reader.device))
        found = token_scores(logits_NV, row_of, points.targets[inside])
        for owner, scored in zip(points.owners[inside].tolist(), found, strict=True):
            tally.add(owner, *scored)


def token_scores(
    logits_NV: torch.Tensor, rows_M: Ints, targets_M: Ints
) -> Iterator[tuple[float, bool]]:
    """Log-probability of each target after its row, and whether it is the top token.

    Rows are ascending. Raises NotNumbersError if the model gives NaN.
    """
    for start in range(0, len(logits_NV), _TOGETHER):
        part_NV = logits_NV[start : start + _TOGETHER]
        inside = slice(*np.searchsorted(rows_M, (start, start + len(part_NV))).tolist())
        rows = on_device(rows_M[inside] - start, logits_NV.device)
        targets = on_device(targets_M[inside], logits_NV.device)
        # Not logsumexp: it divides the sum over a single row among threads, which changes the
        # rounding.
        picked = part_NV.float().log_softmax(dim=-1)[rows, targets]
        if picked.isnan().any():
            raise NotNumbersError
        picked = picked.masked_fill(picked == -math.inf, _IMPOSSIBLE)
        greedy = part_NV.argmax(dim=-1)[rows] == targets
        yield from zip(picked.tolist(), greedy.tolist(), strict=True)


def read_part(request: Encoded) -> tuple[int, ...]:
    """The tokens to read: all before the last one that is predicted.

    Raises ValueError for a request whose first token is scored.
    """
    if request.spans[0][0] < 1:
        raise ValueError("nothing stands before the first learned token to predict it from")
    return request.ids[: request.spans[-1][1] - 1]


def _first(request: Encoded) -> int:
    """The index of the first token that predicts a scored one."""
    return request.spans[0][0] - 1


def _points(requests: Sequence[Encoded], stream: Stream) -> _Points:
    positions, targets, owners = [], [], []
    for i, request in enumerate(requests):
        first = _first(request)
        for start, end in request.spans:
            positions.append(stream.paths[i][start - 1 - first : end - 1 - first])
            targets.append(np.array(request.ids[start:end]))
            owners.append(np.full(end - start, i))
    at = np.concatenate(positions)
    order = np.argsort(at, kind="stable")
    return _Points(at[order], np.concatenate(targets)[order], np.concatenate(owners)[order])
