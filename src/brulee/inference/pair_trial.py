"""Tests whether rows of an encoder-decoder come out of shared passes as they do alone.

    pass      1   2   3
    a, 9      o   o   o      the voice, and the length of its prompt
    a, 5      o   o   o
    b, 12             o      joins after the others have begun, with a longer prompt
    a, 7              o

To test an adapter, a is the adapter and b its base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from transformers import PreTrainedModel

from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.routing import Compared, Router
from brulee.inference.row import Voice
from brulee.models.allocator import is_exhaustion
from brulee.models.turns import turn

_FIRST: Final = (9, 5)
_LATER: Final = (12, 7)
_BEFORE: Final = 2  # passes before others join


def joins_pairs(model: PreTrainedModel, pad_id: int) -> bool:
    """Whether a model's rows may begin at different tokens; False without an encoder."""
    if not model.config.is_encoder_decoder:
        return False
    if getattr(model.config, "attention_type", None) == "block_sparse":
        return False  # BigBird: any short text switches it to full attention permanently
    with turn(model):
        training = model.training
        model.eval()  # dropout would make two runs differ
        try:
            voice = Voice(None, model)
            return all(one.alike() for one in _tried(None, voice, voice, pad_id))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as failure:
            if is_exhaustion(failure):
                raise
            return False  # it has another interface, or caches something other than keys and values
        finally:
            model.train(training)


class PairTrial:
    """Tests an adapter of an encoder-decoder together with its base, in a router that has it."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(
        self, router: Router, plain: PreTrainedModel, name: str, view: PreTrainedModel
    ) -> Iterator[Compared]:
        """Logits after the adapter's rows and the base's in one pass, and after each alone."""
        yield from _tried(router, Voice(name, view), Voice(None, plain), self._pad_id)


class _Text:
    """A prompt continued with its own tokens, alone and in a shared batch."""

    def __init__(self, voice: Voice, length: int, pad_id: int) -> None:
        self.voice, self.prompt = voice, _drawn(voice.model, length, pad_id)
        self._pad_id, self._said = pad_id, 0
        self._decoder = self._begun()

    def _begun(self) -> PaddedDecoder:
        decoder = PaddedDecoder(self.voice.model, [self.prompt], self._pad_id)
        decoder.admit(1)
        return decoder

    def next(self) -> int:
        """The next token of the completion."""
        self._said += 1
        return self.prompt[-self._said]

    def alone(self) -> torch.Tensor:
        """Logits (V) after the token just taken, in a batch of its own."""
        return self._decoder.push([[self.prompt[-self._said]]])[0]

    @torch.no_grad()
    def again(self) -> torch.Tensor:
        """The same, read from the beginning; `alone` goes on from what it has read itself."""
        decoder = self._begun()
        read = [decoder.push([[self.prompt[-at]]]) for at in range(1, self._said + 1)]
        return read[-1][0]


@torch.no_grad()
def _tried(router: Router | None, a: Voice, b: Voice, pad_id: int) -> Iterator[Compared]:
    """Logits of rows of a and b together, and of each alone."""
    rows = PairRows(2, a.model.device, router)
    texts = [_Text(a, length, pad_id) for length in _FIRST]
    _join(rows, texts, pad_id)
    for _ in range(_BEFORE):
        yield from _compared(rows, texts)
    for voice, length in zip((b, a), _LATER, strict=True):
        texts.append(_Text(voice, length, pad_id))
        _join(rows, texts[-1:], pad_id)
    yield from _compared(rows, texts)


def _join(rows: PairRows, texts: Sequence[_Text], pad_id: int) -> None:
    voice, prompts = texts[0].voice, [text.prompt for text in texts]
    read = PaddedDecoder(voice.model, prompts, pad_id)
    read.admit(len(texts))
    rows.join(read, voice, [(len(prompt), _BEFORE + 2) for prompt in prompts])


def _compared(rows: PairRows, texts: Sequence[_Text]) -> Iterator[Compared]:
    """One more token of every row."""
    found = rows.push([[text.next()] for text in texts])
    for row, text in zip(found, texts, strict=True):
        yield Compared(row, text.alone(), text.voice.model, text.again)


def _drawn(model: PreTrainedModel, length: int, pad_id: int) -> list[int]:
    """Random tokens of a prompt, none of them padding."""
    high = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randint(high, (length,), generator=torch.Generator().manual_seed(length))
    return [(token + 1) % high if token == pad_id else token for token in drawn.tolist()]
