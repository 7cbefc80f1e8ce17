"""Beam search: the highest-scoring completion found by a search of some width.

Every prompt has W rows, its beams. At each token, so many of the best continuations are considered
that W of them do not end in a token of `stop_ids`: those of the best W that end are kept as found,
and the best W of the others become the beams. If stop texts leave fewer, the rest are copies that
can no longer be chosen. A prompt is done when it has W found completions, none of which scores
below the best beam, where the score is log-probability / tokens ** length_penalty (Wu et al. 2016;
as in transformers).

Shapes: `B` prompts, `W` beams of each, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from brulee.errors import NotNumbersError
from brulee.inference.generation import Decoder, Order
from brulee.inference.on_device import on_device
from brulee.inference.sampling import Sampling

Ended = Callable[[list[int]], bool]


@dataclass
class _Search:
    """The beams of one prompt, best first, and its found completions with their scores."""

    order: Order
    width: int
    sums: list[float]
    ids: list[list[int]]
    found: list[tuple[float, list[int]]] = field(default_factory=list)

    def keep(self, score: float, ids: list[int]) -> None:
        """Keep a completion if it is among the best."""
        self.found.append((score, ids))
        self.found.sort(key=lambda one: -one[0])
        del self.found[self.width :]


def search(
    decoder: Decoder,
    orders: Sequence[Order],
    sampling: Sampling,
    stopped: Ended,
) -> Iterator[tuple[int, list[int]]]:
    """Each request's index and the ids of its best completion; orders[i] is of prompt i."""
    width = sampling.beams
    while decoder.waiting:
        chosen, logits = decoder.admit(max(1, decoder.free // width))
        decoder.select([row for row in range(len(chosen)) for _ in range(width)])
        logits = logits.repeat_interleave(width, dim=0)
        live = [_begun(orders[i], width) for i in chosen]
        while live:
            parents, tokens, going = [], list[list[int]](), []
            best = _best(live, logits, width)
            for at, (one, ways) in enumerate(zip(live, best, strict=True)):
                taken = _step(one, ways, sampling.length_penalty, stopped)
                if _done(one, sampling.length_penalty):
                    yield one.order.request, one.found[0][1]
                    continue
                going.append(one)
                parents += [at * width + beam for beam in taken]
                tokens += [ids[-1:] for ids in one.ids]
            if going:
                decoder.select(parents)
                logits = decoder.push(tokens)
            else:
                decoder.drop(list(range(len(live) * width)))
            live = going


def _begun(order: Order, width: int) -> _Search:
    # All beams are still the prompt, so only one of them may continue.
    return _Search(order, width, [0.0, *[float("-inf")] * (width - 1)], [[] for _ in range(width)])


def _best(
    live: Sequence[_Search], logits: torch.Tensor, width: int
) -> list[list[tuple[float, int, int]]]:
    """The best continuations of each search: (sum, beam, token), best first."""
    sums = on_device([one.sums for one in live], logits.device)
    vocabulary = logits.shape[-1]
    scores = logits.float().log_softmax(dim=-1).view(len(live), width, vocabulary)
    if scores[..., 0].isnan().any():
        raise NotNumbersError
    for place, one in enumerate(live):
        if barred := list(one.order.barred):
            scores[place, :, barred] = -math.inf
    scores = scores + sums[..., None]
    ends = max(len(one.order.stop_ids) for one in live)
    most = min(max(2, 1 + ends), vocabulary) * width
    values, at = scores.flatten(1).topk(most, dim=-1)
    return [
        [
            (value, place // vocabulary, place % vocabulary)
            for value, place in zip(v, a, strict=True)
        ]
        for v, a in zip(values.tolist(), at.tolist(), strict=True)
    ]


def _step(
    one: _Search,
    ways: Sequence[tuple[float, int, int]],
    penalty: float,
    stopped: Ended,
) -> list[int]:
    """Advance the beams; returns the parent of each."""
    before, one.sums, one.ids = one.ids, [], []
    stop_ids = one.order.stop_ids
    taken: list[int] = []
    for rank, (total, beam, token) in enumerate(ways):
        ids = [*before[beam], token]
        score = total / len(ids) ** penalty
        if token in stop_ids or stopped(ids) or len(ids) == one.order.most:
            if rank < one.width:
                one.keep(score, before[beam] if token in stop_ids else ids)
            if len(ids) < one.order.most:
                continue
        if len(taken) < one.width:
            one.sums.append(total)
            one.ids.append(ids)
            taken.append(beam)
    while len(taken) < one.width:  # copies of the last one, which is as long as they have to be
        one.sums.append(-math.inf)
        one.ids.append(ids)
        taken.append(beam)
    return taken


def _done(one: _Search, penalty: float) -> bool:
    length = len(one.ids[0])
    if length == one.order.most or (one.found and one.sums[0] == -math.inf):
        return True
    full = len(one.found) == one.width
    return full and one.sums[0] / length**penalty <= one.found[-1][0]
