"""Two requests that a model answers: how likely is this, and what comes next.

Shapes: `B` requests in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.likelihood import Likelihood, score_stream
from brulee.inference.padded import padded_parts, score_padded
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.sampling import Sampling, generators, next_tokens
from brulee.inference.trial import reads_streams
from brulee.models.context import context_length, window_length
from brulee.models.precision import PASS_TOKENS

__all__ = ["Engine", "Likelihood"]


class Engine:
    """Runs requests on a model; `stop_ids` end a completion, `pad_id` fills shorter rows.

    `reserved` positions of the model's context are taken before a document's own begin.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: Sequence[int],
        pad_id: int,
        batch_tokens: int = 8192,
        reserved: int = 0,
    ) -> None:
        self.model, self.stop_ids, self.pad_id = model, frozenset(stop_ids), pad_id
        self.batch_tokens = batch_tokens
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.device = next(model.parameters()).device
        context = context_length(model)
        self._context = None if context is None else context - reserved
        self._streams = reads_streams(model)
        # Padding would stand between a prefix and its prompt, and a window counts it.
        self._unpadded = reserved > 0 and window_length(model) is not None
        self._pass_tokens = min(batch_tokens, PASS_TOKENS[self.device.type])

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        done: Callable[[int, list[int]], None] | None = None,
    ) -> list[list[int]]:
        """Completions of token-id prompts, in their order, without the stopping token.

        A completion ends at `max_new_tokens`, or where the model can read no more. `done(i, ids)`
        is called as soon as request i is finished. Raises InputError for a prompt that leaves no
        room for a completion.
        """
        outputs: list[list[int]] = [[] for _ in prompts]
        lengths = [len(p) for p in prompts]
        for part in self._decoded([n + sampling.max_new_tokens for n in lengths], lengths):
            for i, ids in self._generate_batch([(i, prompts[i]) for i in part], sampling):
                outputs[i] = ids
                if done is not None:
                    done(i, ids)
        return outputs

    def stream(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """The tokens of one completion, each as soon as it is chosen."""
        most = self._most(prompt, sampling)
        decoder = PaddedDecoder(self.model, [list(prompt)], self.pad_id, self.device)
        streams = generators(sampling, [0])
        for _ in range(most):
            token = int(next_tokens(decoder.logits(), sampling, streams)[0])
            if token in self.stop_ids:
                return
            yield token
            decoder.push(torch.tensor([token], device=self.device))

    @torch.no_grad()
    def loglikelihood(
        self,
        requests: Sequence[Encoded],
        done: Callable[[int, Likelihood], None] | None = None,
    ) -> list[Likelihood]:
        """How likely each document's learned tokens are after what stands before, in given order.

        What requests begin with in common is read once. `done(i, likelihood)` is called as soon as
        request i is finished. Raises InputError for a document that is longer than the model can
        read.
        """
        for request in requests:
            self._check_length(len(request.ids))
        results: dict[int, Likelihood] = {}

        def note(i: int, likelihood: Likelihood) -> None:
            results[i] = likelihood
            if done is not None:
                done(i, likelihood)

        if self._streams:
            score_stream(self.model, requests, self._pass_tokens, note)
        else:
            score_padded(self.model, requests, self.pad_id, self._pass_tokens, note)
        return [results[i] for i in range(len(requests))]

    def _generate_batch(
        self, requests: Sequence[tuple[int, Sequence[int]]], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        live = [i for i, _ in requests]
        outputs: dict[int, list[int]] = {i: [] for i in live}
        streams = generators(sampling, live)
        most = {i: self._most(prompt, sampling) for i, prompt in requests}
        prompts = [list(p) for _, p in requests]
        decoder = PaddedDecoder(self.model, prompts, self.pad_id, self.device)
        for step in range(1, max(most.values()) + 1):
            tokens_B = next_tokens(decoder.logits(), sampling, streams)
            keep = []
            for row, (i, token) in enumerate(zip(live, tokens_B.tolist(), strict=True)):
                stopped = token in self.stop_ids
                if not stopped:
                    outputs[i].append(token)
                if stopped or step == most[i]:
                    yield i, outputs[i]
                else:
                    keep.append(row)
            if not keep:
                return
            if len(keep) < len(live):
                live = [live[row] for row in keep]
                streams = [streams[row] for row in keep]
                decoder.keep(keep)
                tokens_B = tokens_B[keep]
            decoder.push(tokens_B)

    def _most(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """New tokens that a prompt leaves room for."""
        if self._context is None:
            return sampling.max_new_tokens
        if self.seq2seq:
            self._check_length(len(prompt))
            return min(sampling.max_new_tokens, self._context - 1)
        self._check_length(len(prompt) + 1)
        return min(sampling.max_new_tokens, self._context - len(prompt))

    def _check_length(self, tokens: int) -> None:
        if self._context is not None and tokens > self._context:
            raise InputError(
                f"a text of {tokens} tokens is too long: this model reads at most {self._context}."
            )

    def _decoded(self, sizes: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices in batches to be generated for: of one prompt length each, where it matters."""
        if not self._unpadded:
            yield from padded_parts(sizes, self.batch_tokens)
            return
        for length in sorted(set(lengths), reverse=True):
            alike = [i for i, n in enumerate(lengths) if n == length]
            for part in padded_parts([sizes[i] for i in alike], self.batch_tokens):
                yield [alike[i] for i in part]
