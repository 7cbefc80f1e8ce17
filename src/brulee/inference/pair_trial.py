"""Whether rows of an encoder-decoder come out together as they do alone: tried, not looked up.

    pass      1   2   3   4
    a, 9      o   o   o   o      who is asked, and how many tokens its prompt has
    a, 5      o   o   o   o
    b, 12             o   o      joins when the others have written, after a longer prompt
    a, 7              o   o

An adapter's rows and its base's are tried so in one pass, by turns as a and as b.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from transformers import PreTrainedModel

from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.routing import Compared, Router, come_out_alike
from brulee.inference.row import Voice
from brulee.models.turns import turn

_FIRST: Final = (9, 5)
_LATER: Final = (12, 7)
_PASSES: Final = 2  # before others join, and with them


def joins_pairs(model: PreTrainedModel, pad_id: int) -> bool:
    """Whether a model's rows may begin at different tokens; no for what has no encoder."""
    if not model.config.is_encoder_decoder:
        return False
    with turn(model):
        training = model.training
        model.eval()  # dropout would make two runs differ
        try:
            voice = Voice(None, model)
            return all(come_out_alike(*one) for one in _tried(None, voice, voice, pad_id))
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return False  # it is called otherwise, or keeps something else than keys and values
        finally:
            model.train(training)


class PairTrial:
    """Tries an adapter of an encoder-decoder beside its base, in a router that knows it."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(
        self, router: Router, plain: PreTrainedModel, name: str, view: PreTrainedModel
    ) -> Iterator[Compared]:
        """Logits after the adapter's rows and the base's in one pass, and after each alone."""
        adapter, base = Voice(name, view), Voice(None, plain)
        yield from _tried(router, adapter, base, self._pad_id)
        yield from _tried(router, base, adapter, self._pad_id)


@torch.no_grad()
def _tried(router: Router | None, a: Voice, b: Voice, pad_id: int) -> Iterator[Compared]:
    """What rows of a and b give together, and each alone."""
    rows = PairRows(2, a.model.device, router)
    asked = [(a, _drawn(a.model, n, pad_id)) for n in _FIRST]
    _join(rows, asked, pad_id)
    written: list[list[int]] = [[], []]
    for _ in range(_PASSES):
        yield from _compared(rows, asked, written, pad_id)
    for voice, length in zip((b, a), _LATER, strict=True):
        asked.append((voice, _drawn(voice.model, length, pad_id)))
        written.append([])
        _join(rows, asked[-1:], pad_id)
    for _ in range(_PASSES):
        yield from _compared(rows, asked, written, pad_id)


def _join(rows: PairRows, asked: Sequence[tuple[Voice, list[int]]], pad_id: int) -> None:
    voice = asked[0][0]
    read = PaddedDecoder(voice.model, [prompt for _, prompt in asked], pad_id)
    read.admit(len(asked))
    rows.join(read, voice, [(len(prompt), 2 * _PASSES + 1) for _, prompt in asked])


def _compared(
    rows: PairRows,
    asked: Sequence[tuple[Voice, list[int]]],
    written: list[list[int]],
    pad_id: int,
) -> Iterator[Compared]:
    """One more token of every row, and all its tokens alone."""
    for (_, prompt), own in zip(asked, written, strict=True):
        own.append(prompt[len(own)])
    found = rows.push([own[-1:] for own in written])
    for row, (voice, prompt), own in zip(found, asked, written, strict=True):
        alone = PaddedDecoder(voice.model, [prompt], pad_id)
        alone.admit(1)
        expected = torch.cat([alone.push([[token]]) for token in own])
        yield row, expected[-1]


def _drawn(model: PreTrainedModel, length: int, pad_id: int) -> list[int]:
    """Tokens of a prompt, none of which fills up rows."""
    high = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randint(high, (length,), generator=torch.Generator().manual_seed(length))
    return [(token + 1) % high if token == pad_id else token for token in drawn.tolist()]
