"""How documents are batched into passes through the model, for a loss or a gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from brulee.data.batching import Batch, common_start, pack, pack_pairs, pad, pad_pairs
from brulee.data.encoding import Encoded
from brulee.models.attention import packed, packs_exactly
from brulee.models.decoder_start import decoder_start
from brulee.models.head import CompletionLoss
from brulee.models.loading import Base
from brulee.models.precision import PASS_TOKENS, fused_pass_tokens
from brulee.models.reading_ahead import refuse_reading_ahead
from brulee.models.rope import angles_of, changes_beyond, unchanged_length
from brulee.progress import waiting
from brulee.training.captured import captured
from brulee.training.noise import Noise
from brulee.training.sharding import Sharded

T = TypeVar("T")


class Passes:
    """Splits documents into passes of at most `most` documents and `pass_tokens` tokens.

    The loss is the sum over learned tokens divided by their number, however they are split; tokens
    of prompts, if they carry loss, count by their weight in both. `most`
    and `pass_tokens` may be changed between calls. `noise` is NEFTune's alpha and `smoothing` the
    losses' (`Batch`), both applied in `backward` only. If the base is `sharded`, all processes must
    make each pass, which runs on the model's own layers, as it does unless `by_ours`. Raises
    InputError for a sharded base that reads the tokens that it has to predict.
    """

    def __init__(
        self,
        base: Base,
        *,
        most: int,
        autocast: bool = False,
        noise: float | None = None,
        smoothing: float = 0.0,
        sharded: Sharded | None = None,
        by_ours: bool = True,
    ) -> None:
        self.base, self.most, self.autocast, self._smoothing = base, most, autocast, smoothing
        self.sharded = sharded
        if sharded is None:
            loss, self._packs_itself = _tried(base.model, by_ours)
        else:
            sharded.refuse(lambda: refuse_reading_ahead(base.model, base.name))
            loss, self._packs_itself = sharded.asked(_tried, base.model, False)
        self._decoder = loss.decoder
        self.packs = self._packs_itself or self._decoder is not None
        self._changes = changes_beyond(base.model) is not None
        format_ = torch.bfloat16 if autocast else base.model.dtype
        self.pass_tokens = PASS_TOKENS[base.device.type]
        if self._decoder is not None:
            self.pass_tokens = fused_pass_tokens(base.device, format_)
        self.loss: Callable[[Batch], torch.Tensor] = loss
        if sharded is not None:
            self.loss = partial(sharded, loss)
        self._noise = None if noise is None else Noise(base.model, noise)
        self._captured = captured(
            loss, self._precision, format_, noise=noise is not None, smoothing=smoothing
        )

    @property
    def fused(self) -> bool:
        """Whether the model runs on our own code instead of its layers'."""
        return self._decoder is not None

    @property
    def replayed(self) -> int:
        """How many passes were replayed from a CUDA graph."""
        return 0 if self._captured is None else self._captured.replayed

    @property
    def recomputes(self) -> bool:
        """Whether layers keep only their inputs and recompute the rest in the backward pass."""
        return self._decoder is not None and self._decoder.recomputes

    def stop_replaying(self) -> bool:
        """Drop recorded passes and their memory for good; returns whether there were any."""
        if self._captured is None or not self._captured.keeps:
            return False
        self._captured = None
        return True

    def recompute(self) -> bool:
        """Turn on recomputation, which takes a third longer; returns whether it was off."""
        if self._decoder is None or self._decoder.recomputes:
            return False
        self._decoder.recomputes, self._captured = True, None
        return True

    def led(self, work: Callable[[], T]) -> T | None:
        """What `work` gives, for which it needs the model; if sharded, in the first process."""
        return work() if self.sharded is None else self.sharded.led(work)

    def boundary(self) -> contextlib.AbstractContextManager[Any]:
        """Inside this block the model's attention keeps packed documents apart."""
        takes = self._packs_itself and self.packs
        return packed(self.base.model) if takes else contextlib.nullcontext()

    def backward(
        self, documents: Sequence[Encoded], over: float | None = None
    ) -> tuple[torch.Tensor, int]:
        """Accumulate the gradient of the mean loss per learned token; returns loss and tokens.

        `over` is the divisor if these documents are only a part of a step.
        """
        over = over or sum(d.weight for d in documents)
        self._renew()
        total = torch.zeros((), device=self.base.device)
        tokens = 0
        for part in self.parts(documents):
            total += self._gradient(part, over)
            tokens += sum(len(d.ids) for d in part)
        return total, tokens

    def _gradient(self, part: Sequence[Encoded], over: float) -> torch.Tensor:
        """Accumulate the gradient of one pass's summed loss / `over`, and return that loss."""
        if self._captured is not None and not self._is_far(part[0]):
            found = self._captured.gradient(part, over)
            if found is not None:
                return found
        with self._precision():
            loss = self._learned(part) / over
        torch.autograd.backward(loss)
        return loss.detach()

    def _learned(self, part: Sequence[Encoded]) -> torch.Tensor:
        """The summed loss of a pass; with noise, documents share no common prefix."""
        batch = self._batch(part, apart=self._noise is not None)
        batch = replace(batch, smoothing=self._smoothing)
        if self._noise is None:
            return self._loss(batch)
        with self._noise.on(batch):
            return self._loss(batch)

    def _loss(self, batch: Batch) -> torch.Tensor:
        """The summed loss of a pass, with the rotary angles of the longest document."""
        longest = max(batch.lengths)
        far = longest if self._is_longer(longest) else None
        with angles_of(self.base.model, far):
            return self.loss(batch)

    def count(self, documents: Sequence[Encoded]) -> int:
        """How many passes the documents need."""
        return sum(1 for _ in self.parts(documents))

    def each(self, documents: Iterable[Encoded]) -> Iterator[torch.Tensor]:
        """The mean loss per learned token of one document at a time, with its graph."""
        self._renew()
        for document in documents:
            for batch in self._batches([document]):
                with self._precision():
                    yield self._loss(batch) / batch.weight

    def total_loss(self, documents: Sequence[Encoded]) -> tuple[float, float]:
        """Summed loss over the learned tokens, and their weight; leaves the model unchanged."""
        total, weight = 0.0, 0.0
        for loss, own in self.losses(documents):
            total, weight = total + loss, weight + own
        return total, weight

    @torch.no_grad()
    def losses(self, documents: Sequence[Encoded]) -> Iterator[tuple[float, float]]:
        """The summed loss and the weight of the learned tokens of each pass, one at a time."""
        self._renew()
        for batch in self._batches(documents):
            with self._precision():
                loss = self._loss(batch).item()
            yield loss, batch.weight

    def rest(self) -> None:
        """Free what passes without a backward pass have left gathered."""
        if self.sharded is not None:
            self.sharded.reshard()

    def _batches(self, documents: Sequence[Encoded]) -> Iterator[Batch]:
        for part in self.parts(documents):
            yield self._batch(part)

    def parts(self, documents: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        """The documents of each pass; those that would affect how others are read go alone."""
        yield from ([document] for document in documents if self._is_far(document))
        others = [d for d in documents if not self._is_far(d)]
        yield from within(others, self.most, self.pass_tokens)

    def _is_far(self, document: Encoded) -> bool:
        return self._is_longer(len(document.ids))

    def _is_longer(self, tokens: int) -> bool:
        """Whether the rotary angles of a document of so many tokens are not those of others."""
        return self._changes and tokens > (unchanged_length(self.base.model) or 0)

    def _batch(self, part: Sequence[Encoded], apart: bool = False) -> Batch:
        if self.base.kind == "seq2seq":
            start = decoder_start(self.base.model)
            batch = (
                pack_pairs(part, start) if self.packs else pad_pairs(part, self.base.pad_id, start)
            )
        elif self.packs:
            batch = pack(part, common_start(part) if self._decoder and not apart else 0)
        else:
            batch = pad(part, self.base.pad_id)
        return batch.to(self.base.device)

    def _renew(self) -> None:
        """Refresh cached weights, as training may have changed them since the last call."""
        if self._decoder is not None:
            self._decoder.held.renew()

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.base.device.type, dtype=torch.bfloat16)


@waiting("Trying the model on a few tokens")
def _tried(model: PreTrainedModel, by_ours: bool) -> tuple[CompletionLoss, bool]:
    """The loss of a model, and whether it packs exactly; both are tried on a few tokens."""
    return CompletionLoss(model, by_ours), packs_exactly(model)


def within(documents: Sequence[Encoded], most: int, tokens: int) -> Iterator[list[Encoded]]:
    """Consecutive documents in parts of at most `most` and `tokens` tokens (one may be longer).

    The smallest number of parts, with the largest of them as small as possible.
    """
    low, high = 0, tokens
    parts = _cut(documents, most, tokens)
    while low < high:
        middle = (low + high) // 2
        found = _cut(documents, most, middle)
        if len(found) == len(parts):
            parts, high = found, middle
        else:
            low = middle + 1
    yield from parts


def _cut(documents: Sequence[Encoded], most: int, tokens: int) -> list[list[Encoded]]:
    parts: list[list[Encoded]] = []
    size = 0
    for document in documents:
        if not parts or len(parts[-1]) == most or size + len(document.ids) > tokens:
            parts.append([])
            size = 0
        parts[-1].append(document)
        size += len(document.ids)
    return parts
