"""Batches documents for one forward pass, packed end to end, or padded if the model needs it.

    packed   |-- a --|- b -|---- c ----|          1 x T, boundaries in cu_seq_lens
    padded   |-- a --|.....|
             |- b -|.......|                      B x T, for models that cannot pack
             |---- c ------|

    pairs    |-- a --|- b -|  |- a -|-- b --|     encoder prompts, decoder completions

Shapes: `B` documents, `T` tokens, `N` learned tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brulee.data.encoding import Encoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """Model inputs, and which flattened position predicts which target.

    `lengths` are the documents' token counts; `positions` (N) and `targets` (N) are on the inputs'
    device. The first `shared` tokens of all documents are stored once, at the front of a pack.
    `asked` counts, for each of the pack's `segments`, the tokens from the first position that
    predicts a target to the end. `written` are the decoder's token counts in packed pairs.
    `weights` (N) say how much each target's loss counts; None if all count once. `smoothing` is the
    share of each loss that all tokens of the vocabulary have as targets, equally.
    """

    inputs: dict[str, Any]
    positions: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]
    packed: bool
    shared: int = 0
    asked: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    weights: torch.Tensor | None = None
    smoothing: float = 0.0

    @property
    def segments(self) -> tuple[int, ...]:
        """The lengths of a pack's consecutive segments: the shared tokens if any, then the rest."""
        own = tuple(length - self.shared for length in self.lengths)
        return (self.shared, *own) if self.shared else own

    @property
    def tokens(self) -> int:
        """The number of tokens without padding."""
        return sum(self.lengths)

    @property
    def learned(self) -> int:
        """The number of tokens that carry loss."""
        return int(self.targets.shape[0])

    @property
    def weight(self) -> float:
        """The sum of the targets' weights."""
        return self.learned if self.weights is None else float(self.weights.sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        import torch

        def move(value: Any) -> Any:
            moves = isinstance(value, torch.Tensor)
            return value.to(device, non_blocking=True) if moves else value

        inputs = {key: move(value) for key, value in self.inputs.items()}
        own = {name: move(getattr(self, name)) for name in ("positions", "targets", "weights")}
        return replace(self, inputs=inputs, **own)


def pack(documents: Sequence[Encoded], shared: int = 0) -> Batch:
    """Pack all documents into one row; attention must respect `cu_seq_lens_q`.

    The first `shared` tokens, which all documents must have in common (`common_start`), are stored
    once; attention must then let every document attend to them.
    """
    lengths = tuple(len(d.ids) for d in documents)
    ids = list(documents[0].ids[:shared])
    positions: list[int] = []
    targets: list[int] = []
    asked = [0] if shared else []
    for document in documents:
        # Where the document would start if its own tokens directly followed the shared ones.
        _predict(document, len(ids) - shared, positions, targets)
        asked.append(len(document.ids) - document.first + 1)
        ids += document.ids[shared:]
    own = [length - shared for length in lengths]
    arguments = pack_arguments([shared, *own] if shared else own, "cpu")
    if shared:
        arguments["position_ids"][:, shared:] += shared
    inputs = {"input_ids": _whole_numbers(ids).unsqueeze(0), **arguments}
    at, wanted = _whole_numbers(positions), _whole_numbers(targets)
    weights = _weights(documents)
    return Batch(inputs, at, wanted, lengths, True, shared, tuple(asked), weights=weights)


def common_start(documents: Sequence[Encoded]) -> int:
    """The length of the documents' common prefix, up to where any predicts a token for the loss."""
    if len(documents) < 2:
        return 0
    most = min(document.first for document in documents) - 1
    columns = zip(*(document.ids[:most] for document in documents), strict=True)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _whole_numbers(values: list[int]) -> torch.Tensor:
    """An int64 tensor, made through NumPy, which converts lists several times faster."""
    import torch

    return torch.from_numpy(np.array(values, dtype=np.int64))


def pack_arguments(
    lengths: tuple[int, ...] | list[int], device: torch.device | str
) -> dict[str, Any]:
    """The keyword arguments that tell a model the boundaries of documents of these lengths."""
    import torch

    sizes = torch.tensor([0, *lengths], dtype=torch.int32)
    bounds = torch.cumsum(sizes, 0, dtype=torch.int32).to(device)
    positions = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))
    positions = positions.unsqueeze(0).to(device)
    longest = max(lengths)
    return {
        "position_ids": positions,
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def pad(documents: Sequence[Encoded], pad_id: int) -> Batch:
    """One row per document, right-padded, with an attention mask."""
    import torch

    ids_BT, mask_BT = _right_padded([d.ids for d in documents], pad_id)
    width = ids_BT.shape[1]
    positions: list[int] = []
    targets: list[int] = []
    for row, document in enumerate(documents):
        _predict(document, row * width, positions, targets)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    lengths = tuple(len(d.ids) for d in documents)
    at, wanted = torch.tensor(positions), torch.tensor(targets)
    return Batch(inputs, at, wanted, lengths, False, weights=_weights(documents))


def pad_pairs(documents: Sequence[Encoded], pad_id: int, start: Sequence[int]) -> Batch:
    """Padded prompts for the encoder, and completions after the ids `start` for the decoder.

    Raises ValueError for a document with more than one learned span, as the decoder generates one.
    """
    import torch

    _check_pairs(documents)
    ids_BT, mask_BT = _right_padded([d.prompt for d in documents], pad_id)
    shifted = [(*start, *d.completion[:-1]) for d in documents]
    decoder_BT, decoder_mask_BT = _right_padded(shifted, pad_id)
    width, first = decoder_BT.shape[1], len(start) - 1
    positions = [
        row * width + first + at for row, d in enumerate(documents) for at in range(d.learned)
    ]
    targets = [token for d in documents for token in d.completion]
    inputs = {
        "input_ids": ids_BT,
        "attention_mask": mask_BT,
        "decoder_input_ids": decoder_BT,
        "decoder_attention_mask": decoder_mask_BT,
    }
    lengths = tuple(len(d.ids) + first for d in documents)
    return Batch(inputs, torch.tensor(positions), torch.tensor(targets), lengths, False)


def pack_pairs(documents: Sequence[Encoded], start: Sequence[int]) -> Batch:
    """Like `pad_pairs`, but prompts and completions are each packed into one row.

    Raises ValueError for a document with more than one learned span, as the decoder generates one.
    """
    _check_pairs(documents)
    shifted = [token for d in documents for token in (*start, *d.completion[:-1])]
    targets = _whole_numbers([token for d in documents for token in d.completion])
    inputs = {
        "input_ids": _whole_numbers([t for d in documents for t in d.prompt]).unsqueeze(0),
        "decoder_input_ids": _whole_numbers(shifted).unsqueeze(0),
    }
    first = len(start) - 1
    lengths = tuple(len(d.ids) + first for d in documents)
    written = tuple(d.learned + first for d in documents)
    predicted, end = list[int](), 0
    for own in written:
        predicted += range(end + first, end + own)
        end += own
    positions = _whole_numbers(predicted)
    return Batch(inputs, positions, targets, lengths, True, written=written)


def _check_pairs(documents: Sequence[Encoded]) -> None:
    if any(len(d.spans) > 1 for d in documents):
        raise ValueError("an encoder-decoder document has one learned span")


def _predict(document: Encoded, begin: int, positions: list[int], targets: list[int]) -> None:
    """Append the tokens with loss of a document at `begin`, and the positions that predict them."""
    for start, end, _ in document.weighted:
        if start < 1:
            raise ValueError("nothing stands before the first learned token to predict it from")
        positions += range(begin + start - 1, begin + end - 1)
        targets += document.ids[start:end]


def _weights(documents: Sequence[Encoded]) -> torch.Tensor | None:
    """The weight of every target in the order of `_predict`; None if all count once."""
    import torch

    if not any(document.prompts for document in documents):
        return None
    spans = [span for document in documents for span in document.weighted]
    return torch.tensor([weight for start, end, weight in spans for _ in range(start, end)])


def _right_padded(
    rows: Sequence[tuple[int, ...]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), width), pad_id)
    mask_BT = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        ids_BT[at, : len(row)] = torch.tensor(row)
        mask_BT[at, : len(row)] = 1
    return ids_BT, mask_BT
