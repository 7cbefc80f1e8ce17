"""Token ids of a document, and which of them carry loss.

A document is built from segments with known roles (framing.py), each tokenised separately, so the
positions that carry loss are known from the lengths, without searching for markers:

    <|im_start|>user ... <|im_end|> <|im_start|>assistant | The customer asked ... <|im_end|>
    '---------------------- prompt ---------------------' '------------ learned -----------'

A draft that starts with a learned segment is plain text. It has the BOS token that the tokenizer
adds, if any, and all is learned but the first token, which has none before it to predict it from:

    <s> | Once upon a time ... </s>          Once | upon a time ... <|endoftext|>

Under `train.prompt_loss_weight` prompts carry loss too, which counts less: what is learned keeps
its spans, since answers are found by them, and the other tokens have spans of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from brulee.data.chat_framing import ChatFraming
from brulee.data.drafting import Draft
from brulee.data.framing import PlainFraming, Segment
from brulee.data.tokens import Tokens
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["causal", "seq2seq"]


@dataclass(frozen=True)
class Encoded:
    """A document's token ids; those in `spans`, half-open [start, end), carry loss.

    So do those in `prompts`, `prompt_weight` times (`with_prompts`). Raises InputError if nothing
    is learned.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    cut: int = 0  # tokens dropped from the source column or the start of a chat, to fit
    prompts: tuple[tuple[int, int], ...] = ()
    prompt_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.learned < 1:
            raise InputError("nothing of the document would be learned.")

    @classmethod
    def ending(cls, ids: Sequence[int], learned: int) -> Encoded:
        """A document whose last `learned` ids carry loss."""
        return cls(tuple(ids), ((len(ids) - learned, len(ids)),))

    @property
    def learned(self) -> int:
        """The number of ids that carry loss."""
        return _length(self.spans)

    @property
    def predicted(self) -> int:
        """The number of ids that are predicted for the loss, those of prompts included."""
        return self.learned + _length(self.prompts)

    @property
    def weight(self) -> float:
        """How much the document counts in the mean loss of a step: in tokens of answers."""
        return self.learned + self.prompt_weight * _length(self.prompts)

    @property
    def first(self) -> int:
        """The first id that is predicted for the loss."""
        return min(start for start, _ in (*self.spans, *self.prompts))

    @property
    def weighted(self) -> list[tuple[int, int, float]]:
        """Start, end and weight of all spans with loss, in order."""
        lighter = [(*span, self.prompt_weight) for span in self.prompts]
        return sorted([*((*span, 1.0) for span in self.spans), *lighter])

    @property
    def prompt(self) -> tuple[int, ...]:
        """Everything before the last answer."""
        return self.ids[: self.spans[-1][0]]

    @property
    def completion(self) -> tuple[int, ...]:
        """The last answer, with its end-of-turn token."""
        return self.ids[slice(*self.spans[-1])]


def check_prompt_loss(kind: Kind, weight: float) -> None:
    """Raise InputError for an encoder-decoder, which predicts nothing of a prompt."""
    if weight and kind == "seq2seq":
        raise InputError(
            "train.prompt_loss_weight: not for encoder-decoder models, which read a prompt and do "
            "not predict it; leave it out."
        )


def with_prompts(document: Encoded, weight: float, before: int) -> Encoded:
    """The same document with a loss of its other tokens, each counted `weight` times.

    The first `before` ids are a method's own and carry none, nor does the first token after them.
    """
    if not weight:
        return document
    starts = (before + 1, *(end for _, end in document.spans))
    ends = (*(start for start, _ in document.spans), len(document.ids))
    others = tuple((a, b) for a, b in zip(starts, ends, strict=True) if a < b)
    return replace(document, prompts=others, prompt_weight=weight) if others else document


class DraftIds:
    """Tokenises drafts; the segments of many drafts share one call of the tokenizer."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: Tokens,
        framing: ChatFraming | PlainFraming,
        kind: Kind,
    ) -> None:
        self._tokenizer, self._tokens = tokenizer, tokens
        self._kind, self._bounds = kind, framing.bounds
        # Some tokenizers append EOS to every text, but a prompt continues.
        without_end = kind == "causal" and isinstance(framing, PlainFraming)
        self._unread = tokenizer.eos_token_id if without_end else None

    def documents(self, drafts: Sequence[Draft], prefix: tuple[int, ...]) -> list[Encoded]:
        """One document per draft, each starting with `prefix`."""
        documents = []
        for draft, parts in zip(drafts, self._tokenise(drafts), strict=True):
            ids, spans = list(prefix), []
            for segment, part in zip(draft, parts, strict=True):
                start = len(ids)
                ids += part
                ids += segment.end
                if segment.learned:
                    spans.append((max(start, len(prefix) + 1), len(ids)))
            documents.append(Encoded(tuple(ids), tuple(spans)))
        return documents

    def of(self, draft: Draft, prefix: tuple[int, ...]) -> list[int]:
        """`prefix` and all ids of a draft, in which nothing needs to be learned."""
        parts = zip(draft, self._tokenise([draft])[0], strict=True)
        return [*prefix, *(i for s, part in parts for i in (*part, *s.end))]

    def _tokenise(self, drafts: Sequence[Draft]) -> list[list[list[int]]]:
        """The ids of every segment of every draft."""
        firsts = self._firsts([draft[0] for draft in drafts])
        later = iter(self._later([pair for draft in drafts for pair in pairwise(draft)]))
        return [
            [first, *(next(later) for _ in draft[1:])]
            for first, draft in zip(firsts, drafts, strict=True)
        ]

    def _firsts(self, segments: Sequence[Segment]) -> list[list[int]]:
        """The ids of first segments, with the BOS token if any, without EOS."""
        prompts = [segment.text for segment in segments if not segment.learned]
        read = iter(self._tokens.batch(prompts, bounds=self._bounds))
        texts = [segment.text for segment in segments if segment.learned]
        alone = iter(self._tokens.batch(texts, bounds=True))
        eos = self._tokenizer.eos_token_id
        return [
            _open(next(alone), eos) if segment.learned else _open(next(read), self._unread)
            for segment in segments
        ]

    def _later(self, pairs: Sequence[tuple[Segment, Segment]]) -> list[list[int]]:
        """The ids of the second segment of each pair, which continues the first."""
        texts = [segment.text for _, segment in pairs]
        if self._kind == "seq2seq":  # the decoder starts with the answer
            return self._tokens.targets(texts)
        return self._tokens.continued(texts, [self._said(before) for before, _ in pairs])

    def _said(self, segment: Segment) -> str:
        end = [str(self._tokenizer.convert_ids_to_tokens(i)) for i in segment.end[-1:]]
        return "".join(end) or segment.text


def _length(spans: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans)


def _open(ids: list[int], end: int | None) -> list[int]:
    return ids[:-1] if end is not None and ids[-1:] == [end] else ids
