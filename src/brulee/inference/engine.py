"""Generation and likelihood over one model: batches by token budget, longest first.

Shapes: `B` requests in a batch, `T` tokens, `V` vocabulary, `N` scored tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.data.batching import pack, pad, pad_pairs
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.cache import gather, is_plain
from brulee.inference.sampling import Sampling, generators, next_tokens
from brulee.models.attention import packed, packs_exactly
from brulee.models.cache_names import cache_name, cache_of
from brulee.models.context import context_length, window_length
from brulee.models.precision import PASS_TOKENS


@dataclass(frozen=True)
class Likelihood:
    """Log-probability (natural log) of a completion, its token count, and whether it is greedy."""

    log_probability: float
    tokens: int
    greedy: bool


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
        self._packs = packs_exactly(model)
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
        decoder = _Decoder(self.model, [list(prompt)], self.pad_id, self.device)
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
        """How likely each document's learned tokens are after its prompt, in the given order.

        Requests with the same prompt (the answers of one question) read it once. Raises InputError
        for a document that is longer than the model can read.
        """
        for request in requests:
            self._check_length(len(request.ids))
        results: list[Likelihood | None] = [None] * len(requests)

        def note(i: int, likelihood: Likelihood) -> None:
            results[i] = likelihood
            if done is not None:
                done(i, likelihood)

        if self.seq2seq or len({r.prompt for r in requests}) > 0.7 * len(requests):
            self._score_alone(requests, note)
        else:
            self._score_shared(requests, note)
        return [r for r in results if r is not None]

    def _score_alone(
        self, requests: Sequence[Encoded], note: Callable[[int, Likelihood], None]
    ) -> None:
        boundary = packed(self.model) if self._packs else contextlib.nullcontext()
        with boundary:
            for part in self._parts([len(r.ids) for r in requests], self._pass_tokens):
                found = self._score_batch([requests[i] for i in part])
                for i, likelihood in zip(part, found, strict=True):
                    note(i, likelihood)

    def _score_shared(
        self, requests: Sequence[Encoded], note: Callable[[int, Likelihood], None]
    ) -> None:
        """Prefill each distinct prompt, then run its continuations over copies of its cache."""
        owners: dict[tuple[int, ...], list[int]] = {}
        for i, request in enumerate(requests):
            owners.setdefault(request.prompt, []).append(i)
        prompts = list(owners)
        sizes = [sum(len(requests[i].ids) for i in owners[p]) for p in prompts]
        for part in self._decoded(sizes, [len(p) for p in prompts]):
            decoder = _Decoder(
                self.model, [list(prompts[k]) for k in part], self.pad_id, self.device
            )
            members = [(row, i) for row, k in enumerate(part) for i in owners[prompts[k]]]
            first_BV = decoder.logits().float().log_softmax(dim=-1)
            rows = [row for row, _ in members]
            tails = [requests[i].completion for _, i in members]
            later = decoder.extend(rows, tails)
            for at, (row, i) in enumerate(members):
                note(i, _likelihood(first_BV[row], later[at], tails[at]))

    def _score_batch(self, documents: Sequence[Encoded]) -> list[Likelihood]:
        if self._packs:
            batch = pack(documents).to(self.device)
            logits_NV = self.model(
                **batch.inputs, use_cache=False, logits_to_keep=batch.positions
            ).logits[0]
        else:
            start = getattr(self.model.config, "decoder_start_token_id", None)
            padded = (
                pad_pairs(documents, self.pad_id, int(start or 0))
                if self.seq2seq
                else pad(documents, self.pad_id)
            )
            batch = padded.to(self.device)
            logits_BTV = self.model(**batch.inputs, use_cache=False).logits
            logits_NV = logits_BTV.flatten(0, 1)[batch.positions]
        logits_NV = logits_NV.float()
        picked_N = logits_NV.gather(1, batch.targets[:, None]).squeeze(1)
        log_probability_N = picked_N - logits_NV.logsumexp(dim=-1)
        greedy_N = logits_NV.argmax(dim=-1) == batch.targets
        sizes = [d.learned for d in documents]
        return [
            Likelihood(float(p.double().sum()), size, bool(g.all()))
            for p, g, size in zip(
                log_probability_N.split(sizes), greedy_N.split(sizes), sizes, strict=True
            )
        ]

    def _generate_batch(
        self, requests: Sequence[tuple[int, Sequence[int]]], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        live = [i for i, _ in requests]
        outputs: dict[int, list[int]] = {i: [] for i in live}
        streams = generators(sampling, live)
        most = {i: self._most(prompt, sampling) for i, prompt in requests}
        decoder = _Decoder(self.model, [list(p) for _, p in requests], self.pad_id, self.device)
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
            yield from self._parts(sizes)
            return
        for length in sorted(set(lengths), reverse=True):
            alike = [i for i, n in enumerate(lengths) if n == length]
            for part in self._parts([sizes[i] for i in alike]):
                yield [alike[i] for i in part]

    def _parts(self, sizes: Sequence[int], tokens: int | None = None) -> Iterator[list[int]]:
        """Indices in batches whose padded size stays within the budget, longest first."""
        order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
        start = 0
        while start < len(order):
            count = max(1, (tokens or self.batch_tokens) // max(1, sizes[order[start]]))
            yield order[start : start + count]
            start += count


class _Decoder:
    """The state of a batch being generated: cache, mask and the last logits.

    Causal prompts are padded on the left, so that every row's last token is the last column.
    """

    @torch.no_grad()
    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], pad_id: int, device: torch.device
    ) -> None:
        self.model, self.device, self.pad_id = model, device, pad_id
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.cache: Any = None
        self._logits_BV = torch.empty(0)
        self.cache_name = cache_name(model)
        if self.seq2seq:
            ids_BT, self.mask_BT = self._padded(prompts, left=False)
            encoder = model.get_encoder()
            self.encoded = encoder(input_ids=ids_BT, attention_mask=self.mask_BT)
            start = int(model.config.decoder_start_token_id)
            self._forward(torch.full((len(prompts), 1), start, device=device))
        else:
            self._prefill(prompts)

    def _prefill(self, prompts: list[list[int]]) -> None:
        """Read the prompts in passes that suit the device, into one cache."""
        passes = list(_passes([len(p) for p in prompts], PASS_TOKENS[self.device.type]))
        caches, logits = [], []
        for part in passes:
            ids_BT, self.mask_BT = self._padded(prompts[part], left=True)
            self.cache = None
            self._forward(ids_BT)
            caches.append(self.cache)
            logits.append(self._logits_BV)
            if not is_plain(self.cache):
                break
        whole_BT, self.mask_BT = self._padded(prompts, left=True)
        if is_plain(self.cache):
            # What a method put before every prompt is in the cache without having been read.
            prefix = self.cache.get_seq_length() - ids_BT.shape[1]
            self.cache = gather(caches, whole_BT.shape[1], prefix)
            self._logits_BV = torch.cat(logits)
        elif len(passes) > 1:
            self.cache = None
            self._forward(whole_BT)

    def _padded(self, prompts: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(p) for p in prompts)
        ids_BT = torch.full((len(prompts), width), self.pad_id)
        mask_BT = torch.zeros_like(ids_BT)
        for row, prompt in enumerate(prompts):
            at = slice(width - len(prompt), width) if left else slice(0, len(prompt))
            ids_BT[row, at] = torch.tensor(prompt)
            mask_BT[row, at] = 1
        return ids_BT.to(self.device), mask_BT.to(self.device)

    def logits(self) -> torch.Tensor:
        """Logits after each row's last token, shape (B, V)."""
        return self._logits_BV

    @torch.no_grad()
    def push(self, tokens_B: torch.Tensor) -> None:
        """Append a token to every row."""
        if not self.seq2seq:
            ones_B1 = torch.ones_like(self.mask_BT[:, :1])
            self.mask_BT = torch.cat([self.mask_BT, ones_B1], dim=1)
        self._forward(tokens_B[:, None])

    def keep(self, rows: list[int]) -> None:
        """Drop the other rows: they are finished."""
        at = torch.tensor(rows, device=self.device)
        self.mask_BT = self.mask_BT[at]
        self.cache.batch_select_indices(at)
        if self.seq2seq:
            self.encoded.last_hidden_state = self.encoded.last_hidden_state[at]

    @torch.no_grad()
    def extend(self, rows: list[int], tails: list[tuple[int, ...]]) -> list[torch.Tensor]:
        """Logits after each token but the last of every tail, a tail following its row's prompt.

        Returns one (len(tail) - 1, V) tensor a tail. Ends the decoder: its cache is used up.
        """
        width = max(len(tail) for tail in tails) - 1
        if width == 0:
            return [self._logits_BV[:0] for _ in tails]
        at = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(at)
        ids_BT = torch.full((len(tails), width), self.pad_id, device=self.device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, tail in enumerate(tails):
            ids_BT[row, : len(tail) - 1] = torch.tensor(tail[:-1], device=self.device)
            mask_BT[row, : len(tail) - 1] = 1
        self.mask_BT = torch.cat([self.mask_BT[at], mask_BT], dim=1)
        logits_BTV = self._run(ids_BT, logits_to_keep=0).logits
        return [logits_BTV[row, : len(tail) - 1] for row, tail in enumerate(tails)]

    def _forward(self, ids_BT: torch.Tensor) -> None:
        output = self._run(ids_BT, logits_to_keep=1)
        self.cache = cache_of(output)
        self._logits_BV = output.logits[:, -1]

    def _run(self, ids_BT: torch.Tensor, logits_to_keep: int) -> Any:
        if self.seq2seq:
            inputs: dict[str, Any] = {
                "encoder_outputs": self.encoded,
                "attention_mask": self.mask_BT,
                "decoder_input_ids": ids_BT,
            }
        else:
            positions_BT = (self.mask_BT.cumsum(dim=1) - 1).clamp_(min=0)
            inputs = {
                "input_ids": ids_BT,
                "attention_mask": self.mask_BT,
                "position_ids": positions_BT[:, -ids_BT.shape[1] :],
                "logits_to_keep": logits_to_keep,
            }
        return self.model(**inputs, **{self.cache_name: self.cache}, use_cache=True)


def _likelihood(first_V: torch.Tensor, later_TV: torch.Tensor, tail: tuple[int, ...]) -> Likelihood:
    """From log-probabilities of the first token and logits of the others."""
    scores_TV = torch.cat([first_V[None], later_TV.float().log_softmax(dim=-1)])
    target_T = torch.tensor(tail, device=scores_TV.device)
    picked_T = scores_TV.gather(1, target_T[:, None]).squeeze(1)
    greedy = bool((scores_TV.argmax(dim=-1) == target_T).all())
    return Likelihood(float(picked_T.double().sum()), len(tail), greedy)


def _passes(lengths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Consecutive prompts whose padded size stays within so many tokens."""
    start = 0
    while start < len(lengths):
        end, width = start + 1, lengths[start]
        while end < len(lengths) and (end + 1 - start) * max(width, lengths[end]) <= tokens:
            width = max(width, lengths[end])
            end += 1
        yield slice(start, end)
        start = end
