"""Batched generation and log-likelihood scoring with one model.

Shapes: `B` requests in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.beams import search
from brulee.inference.completion import Completion, Decode, StopTexts
from brulee.inference.generation import Decoder, Live, Order, follow, write
from brulee.inference.likelihood import Likelihood, Note, score_stream
from brulee.inference.padded import padded_parts, score_padded
from brulee.inference.padded_decoder import PaddedDecoder, Way
from brulee.inference.padding_trial import way_of
from brulee.inference.row import Voice
from brulee.inference.sampling import Sampling
from brulee.inference.stream_decoder import StreamDecoder
from brulee.inference.trial import reads_streams
from brulee.inference.waves import waves
from brulee.models.context import context_length, window_length
from brulee.models.decoder_start import decoder_start
from brulee.models.generation_settings import own_barred
from brulee.models.precision import PASS_TOKENS
from brulee.models.rope import angles_of, read_alike, unchanged_length
from brulee.models.turns import turn

__all__ = ["Completion", "Engine", "Likelihood"]


class Engine:
    """Runs requests on a model; `stop_ids` end a completion, `pad_id` pads shorter rows.

    Tokens that the model's own settings keep out of answers are `barred`. The rows of a batch hold
    at most `batch_tokens` tokens. `reserved` positions of the model's context come before a
    document's own (a trained prefix); `context` is the rest, None if unbounded. `decode` turns
    token ids into text. `like` is an engine of the same base with other adapters or none: the
    results of its trials (trial.py, padding_trial.py) are reused, since adapters do not change how
    attention is called.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: Sequence[int],
        pad_id: int,
        batch_tokens: int = 8192,
        reserved: int = 0,
        decode: Decode | None = None,
        like: Engine | None = None,
    ) -> None:
        self.model, self.stop_ids, self.pad_id = model, frozenset(stop_ids), pad_id
        self.barred = tuple(sorted({*own_barred(model)} - self.stop_ids))
        self.batch_tokens, self._decode = batch_tokens, decode
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.device = next(model.parameters()).device
        context = context_length(model)
        self.context = None if context is None else context - reserved
        self.reads_streams: bool = like.reads_streams if like else reads_streams(model)
        self.voice = Voice(None, model)
        self.way: Way = like.way if like else self._way()
        # Padding would lie between a trained prefix and its prompt, and count towards a window.
        counted = reserved > 0 and window_length(model) is not None
        self._apart = counted or not self.way.pads
        self.pass_tokens = min(batch_tokens, PASS_TOKENS[self.device.type])

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        done: Callable[[int, list[int]], None] | None = None,
        streams: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """The token ids of the completions, as `complete` generates them.

        `streams` numbers the random stream of each request, by default by its index: a subset of
        the requests, run later with the same numbers, gets the same completions. Raises
        NotNumbersError if the model's logits are NaN, as every method that generates does.
        """
        outputs: list[list[int]] = [[] for _ in prompts]
        for i, ids in self._written(prompts, sampling, streams):
            outputs[i] = ids
            if done is not None:
                done(i, ids)
        return outputs

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Completions of token-id prompts, in their order.

        A completion ends at one of `stop_ids` or at a text of `sampling.stop`, both excluded, at
        `max_new_tokens`, or at the end of the model's context. `done(i, completion)` is called as
        soon as request i is finished. Raises InputError for a prompt that leaves no room for a
        completion, ValueError for an engine without `decode`.
        """
        texts = self.texts(sampling)
        outputs: dict[int, Completion] = {}
        for i, ids in self._written(prompts, sampling):
            outputs[i] = texts.completion(ids)
            if done is not None:
                done(i, outputs[i])
        return [outputs[i] for i in range(len(prompts))]

    def stream(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """The tokens of one completion, each as soon as it is chosen."""
        order = self.order(0, prompt, 0, sampling)
        decoder = next(self._decoders([prompt], [order.most]))[0]
        row = Live.begun(order, sampling, lambda _: False, several=False)
        _, logits_BV = decoder.admit(1)
        while True:
            written = len(row.ids)
            follow([row], [[]], logits_BV)
            if row.broken is not None:
                raise row.broken
            yield from row.ids[written:]
            if row.ended:
                return
            logits_BV = decoder.push([row.ids[-1:]])

    @torch.no_grad()
    def loglikelihood(
        self,
        requests: Sequence[Encoded],
        done: Callable[[int, Likelihood], None] | None = None,
    ) -> list[Likelihood]:
        """Log-likelihoods of each document's learned tokens given the tokens before, in order.

        Common prefixes are read once if `reads_streams`. `done(i, likelihood)` is called as soon as
        request i is finished. Raises InputError for a document that exceeds the model's context.
        """
        for request in requests:
            self.check_document(request)
        results: dict[int, Likelihood] = {}

        def note(i: int, likelihood: Likelihood) -> None:
            results[i] = likelihood
            if done is not None:
                done(i, likelihood)

        for length, chosen in read_alike(self.model, [len(r.ids) for r in requests]).items():
            own = [requests[i] for i in chosen]
            told = partial(_told, note, chosen)
            with turn(self.model), angles_of(self.model, length):
                if self.reads_streams:
                    score_stream(self.model, own, self.pass_tokens, told)
                else:
                    score_padded(self.model, own, self.pad_id, self.pass_tokens, told)
        return [results[i] for i in range(len(requests))]

    def check_prompt(self, prompt: Sequence[int], place: str = "a text") -> None:
        """Raise InputError naming its place for a prompt that leaves no room for a completion."""
        self._check_length(len(prompt) + (not self.seq2seq), place)

    def check_document(self, document: Encoded, place: str = "a text") -> None:
        """Raise InputError naming its place for a document longer than the model can read."""
        # The last token is predicted, not read; an encoder-decoder also reads a start token.
        self._check_length(len(document.ids) - (not self.seq2seq), place)

    def _written(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        streams: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, list[int]]]:
        """Each request's index and ids, as soon as it is finished."""
        numbers = range(len(prompts)) if streams is None else streams
        orders = [self.order(i, prompts[i], numbers[i], sampling) for i in range(len(prompts))]
        yield from self.written(orders, sampling)

    def written(
        self, orders: Sequence[Order], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        """The index and ids of each order's request, as soon as it is finished."""
        prompts = [order.prompt for order in orders]
        most = [order.most for order in orders]
        for decoder, chosen in self._decoders(prompts, most, sampling.beams):
            yield from self.carry_out(decoder, [orders[i] for i in chosen], sampling)

    def order(self, request: int, prompt: Sequence[int], stream: int, sampling: Sampling) -> Order:
        """The order to continue a prompt.

        Raises InputError for a prompt that leaves no room for a completion.
        """
        before = decoder_start(self.model) if self.seq2seq else prompt
        most = self._most(prompt, sampling)
        return Order(request, most, prompt, stream, self.stop_ids, before, self.barred)

    def carry_out(
        self, decoder: Decoder, orders: Sequence[Order], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        """Each request's index and ids, as soon as it is finished; orders[i] is of prompt i."""
        stopped = self.texts(sampling).reached if sampling.stop else lambda _: False
        continued = write if sampling.beams == 1 else search
        yield from continued(decoder, orders, sampling, stopped)

    def _way(self) -> Way:
        """How rows are continued outside streams."""
        if self.reads_streams or self.seq2seq:
            return Way()
        return way_of(self.model, self.pad_id)

    def _decoders(
        self, prompts: Sequence[Sequence[int]], most: Sequence[int], copies: int = 1
    ) -> Iterator[tuple[Decoder, Sequence[int]]]:
        """Decoders, each with the indices of the prompts it is for."""
        sizes = [len(prompt) + new for prompt, new in zip(prompts, most, strict=True)]
        near = [i for i, size in enumerate(sizes) if not self.stretches(size)]
        if self.reads_streams:
            own = [prompts[i] for i in near], [most[i] for i in near]
            for wave in waves(*own, self.batch_tokens, copies):
                texts = [own[0][i] for i in wave.prompts]
                voices = [self.voice] * len(texts)
                numbers = [near[i] for i in wave.prompts]
                yield StreamDecoder(texts, voices, wave, self.pass_tokens), numbers
            near = []
        lengths = [len(prompt) for prompt in prompts]
        far = [i for i, size in enumerate(sizes) if self.stretches(size)]
        for chosen, apart in ((near, self._apart), (far, True)):
            own_sizes = [copies * sizes[i] for i in chosen]
            for part in self._padded(own_sizes, [lengths[i] for i in chosen], apart):
                texts = [prompts[chosen[i]] for i in part]
                numbers = [chosen[i] for i in part]
                yield PaddedDecoder(self.model, texts, self.pad_id, copies, self.way), numbers

    def stretches(self, tokens: int) -> bool:
        """Whether a text of so many tokens has rotary angles of its own."""
        beyond = unchanged_length(self.model)
        return beyond is not None and tokens > beyond

    def texts(self, sampling: Sampling) -> StopTexts:
        """What turns ids into completions. Raises ValueError for an engine without `decode`."""
        if self._decode is None:
            raise ValueError("an engine needs `decode` to write texts and to stop at them")
        return StopTexts(sampling.stop, self._decode)

    def _most(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """The most new tokens after a prompt."""
        if self.context is None:
            return sampling.max_new_tokens
        self.check_prompt(prompt)
        if self.seq2seq:
            return min(sampling.max_new_tokens, self.context - len(decoder_start(self.model)))
        return min(sampling.max_new_tokens, self.context - len(prompt))

    def _check_length(self, tokens: int, place: str = "a text") -> None:
        if self.context is not None and tokens > self.context:
            raise InputError(
                f"{place} of {tokens} tokens is too long: this model reads at most {self.context}."
            )

    def _padded(
        self, sizes: Sequence[int], lengths: Sequence[int], apart: bool
    ) -> Iterator[list[int]]:
        """Batches of indices, each of a single prompt length if prompts are kept `apart`."""
        if not apart:
            yield from padded_parts(sizes, self.batch_tokens)
            return
        for length in sorted(set(lengths), reverse=True):
            alike = [i for i, n in enumerate(lengths) if n == length]
            for part in padded_parts([sizes[i] for i in alike], self.batch_tokens):
                yield [alike[i] for i in part]


def _told(note: Note, chosen: Sequence[int], at: int, likelihood: Likelihood) -> None:
    """Note a likelihood by the request's index among all of them."""
    note(chosen[at], likelihood)
