"""Generation with rows padded to one width, for every kind of model.

Shapes: `B` rows, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.inference.cache import gather, is_plain, is_recurrent
from brulee.inference.on_device import on_device
from brulee.models.cache_names import cache_name, cache_of
from brulee.models.decoder_start import decoder_start
from brulee.models.precision import PASS_TOKENS
from brulee.models.rope import angles_of, changes_on, unchanged_length
from brulee.models.turns import turn


@dataclass(frozen=True)
class Way:
    """How the rows of a causal model are continued; which way is right is tried (padding_trial.py).

    `pads`: prompts of different lengths may share a batch. `numbered`: the model is given the
    positions of its tokens, counted from 0; otherwise it counts them itself, as RoBERTa does from
    the id of its padding. `cached`: what was read is not read again for every token.
    """

    pads: bool = True
    numbered: bool = True
    cached: bool = True


# Nothing but the tokens of one row: what the other ways have to give as well.
PLAINEST = Way(pads=False, numbered=False, cached=False)


class PaddedDecoder:
    """Continues prompts that are all read at once, in one row each, or in `copies` rows.

    Prompts of causal models are padded on the left, so that every row's last token is in the last
    column. A model without a cache reads all of its rows again for every token. So does one whose
    rotary angles depend on a text's length, whenever they change; its rows have one length.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        pad_id: int,
        copies: int = 1,
        way: Way | None = None,
    ) -> None:
        self.model, self.pad_id, self._way = model, pad_id, way or Way()
        self.device = next(model.parameters()).device
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.cache: Any = None
        self._read_BT: torch.Tensor | None = None  # all tokens read, if there is no cache
        # Beyond so many tokens, what is cached has other angles than what comes next.
        self._unchanged = None if self.seq2seq else unchanged_length(model)
        self._text_BT: torch.Tensor | None = None  # all tokens read, if angles change
        self._prompts = [list(p) for p in prompts]
        self._alike = len(set(map(len, prompts))) == 1
        self._logits_BV = torch.empty(0)
        self.cache_name = cache_name(model)
        self.waiting = len(prompts)
        self.free = copies * len(prompts)

    @torch.no_grad()
    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read all prompts; returns their indices and logits (B, V) after each."""
        assert most >= self.waiting, "padded prompts are read all at once"
        self.waiting = self.free = 0
        if self.seq2seq:
            ids_BT, self.mask_BT = self._padded(self._prompts, left=False)
            encoder = self.model.get_encoder()
            with turn(self.model):
                self.encoded = encoder(input_ids=ids_BT, attention_mask=self.mask_BT)
            start_1S = on_device([decoder_start(self.model)], self.device)
            self._forward(start_1S.repeat(len(self._prompts), 1))
        else:
            self._prefill(self._prompts)
        return list(range(len(self._prompts))), self._logits_BV

    def _prefill(self, prompts: list[list[int]]) -> None:
        """Read the prompts in passes that suit the device, into one cache."""
        passes = list(_passes([len(p) for p in prompts], PASS_TOKENS[self.device.type]))
        caches, logits = [], []
        for part in passes:
            ids_BT, self.mask_BT = self._padded(prompts[part], left=True)
            self._forward(ids_BT, anew=True)
            caches.append(self.cache)
            logits.append(self._logits_BV)
            if not is_plain(self.cache):
                break
        whole_BT, self.mask_BT = self._padded(prompts, left=True)
        if is_plain(self.cache):
            # A trained prefix is in the cache without being part of the prompts.
            prefix = self.cache.get_seq_length() - ids_BT.shape[1]
            self.cache = gather(caches, whole_BT.shape[1], prefix)
            self._logits_BV = torch.cat(logits)
        elif len(passes) > 1:
            self._forward(whole_BT, anew=True)

    def _padded(self, prompts: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(p) for p in prompts)
        ids_BT = torch.full((len(prompts), width), self.pad_id)
        mask_BT = torch.zeros_like(ids_BT)
        for row, prompt in enumerate(prompts):
            at = slice(width - len(prompt), width) if left else slice(0, len(prompt))
            ids_BT[row, at] = torch.tensor(prompt)
            mask_BT[row, at] = 1
        return on_device(ids_BT, self.device), on_device(mask_BT, self.device)

    several = False

    @torch.no_grad()
    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append a token to every row; returns logits (B, V) after it."""
        tokens_B = on_device([own[0] for own in tokens], self.device)
        if not self.seq2seq:
            ones_B1 = torch.ones_like(self.mask_BT[:, :1])
            self.mask_BT = torch.cat([self.mask_BT, ones_B1], dim=1)
        self._forward(tokens_B[:, None])
        return self._logits_BV

    def cut(self, counts: Sequence[int]) -> None:
        """Assert that nothing is cut, since rows take one token at a time."""
        assert not any(counts), "a row is given one token at a time"

    def drop(self, gone: list[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place."""
        order = [at for at in range(len(self.mask_BT)) if at not in set(gone)]
        self.select(order)
        return order

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        if not parents:
            return
        at = on_device(parents, self.device)
        self.mask_BT = self.mask_BT[at]
        if self._text_BT is not None:
            self._text_BT = self._text_BT[at]
        if self._read_BT is not None:
            self._read_BT = self._read_BT[at]
        else:  # not `batch_select_indices`, which does not reorder recurrent states
            self.cache.reorder_cache(at)
        if self.seq2seq:
            self.encoded.last_hidden_state = self.encoded.last_hidden_state[at]

    def _forward(self, ids_BT: torch.Tensor, anew: bool = False) -> None:
        if anew:
            self.cache = self._read_BT = self._text_BT = None
        if self._unchanged is not None:
            ids_BT = self._with_changes(ids_BT, self._unchanged)
        if self._read_BT is not None:
            ids_BT = torch.cat([self._read_BT, ids_BT], dim=1)
        output = self._run(ids_BT, logits_to_keep=1)
        self.cache = cache_of(output) if self._way.cached else None
        if self.cache is None:
            self._read_BT = ids_BT
        self._logits_BV = output.logits[:, -1]

    def _with_changes(self, ids_BT: torch.Tensor, unchanged: int) -> torch.Tensor:
        """The tokens to read: all of them where the angles of those that are cached change."""
        before = self._text_BT
        text_BT = ids_BT if before is None else torch.cat([before, ids_BT], dim=1)
        self._text_BT = text_BT
        if before is None or self.cache is None or text_BT.shape[1] <= unchanged:
            return ids_BT
        if before.shape[1] > unchanged and not changes_on(self.model):
            return ids_BT
        self.cache = None
        return text_BT

    def _run(self, ids_BT: torch.Tensor, logits_to_keep: int) -> Any:
        if self.seq2seq:
            inputs: dict[str, Any] = {
                "encoder_outputs": self.encoded,
                "attention_mask": self.mask_BT,
                "decoder_input_ids": ids_BT,
            }
        else:
            positions_BT = (self.mask_BT.cumsum(dim=1) - 1).clamp_(min=0)
            # Some recurrent layers misread a mask of several rows as one of the current tokens.
            unmasked = self._alike and is_recurrent(self.cache)
            inputs = {
                "input_ids": ids_BT,
                "attention_mask": None if unmasked else self.mask_BT,
                "logits_to_keep": logits_to_keep,
            }
            if self._way.numbered:
                inputs["position_ids"] = positions_BT[:, -ids_BT.shape[1] :]
        if self._read_BT is None and self._way.cached:
            inputs |= {self.cache_name: self.cache, "use_cache": True}
        else:
            inputs["use_cache"] = False
        with turn(self.model), angles_of(self.model, self._far()):
            return self.model(**inputs)

    def _far(self) -> int | None:
        """The length of the rows' texts, if that is what their angles depend on."""
        length = 0 if self._text_BT is None else self._text_BT.shape[1]
        return length if length > (self._unchanged or 0) else None


def _passes(lengths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Slices of consecutive prompts of at most `tokens` tokens with padding."""
    start = 0
    while start < len(lengths):
        end, width = start + 1, lengths[start]
        while end < len(lengths) and (end + 1 - start) * max(width, lengths[end]) <= tokens:
            width = max(width, lengths[end])
            end += 1
        yield slice(start, end)
        start = end
