"""Documents put together for one forward pass: packed end to end, or padded where a model needs it.

    packed   |-- a --|- b -|---- c ----|          1 x T, boundaries in cu_seq_lens
    padded   |-- a --|.....|
             |- b -|.......|                      B x T, for models that cannot pack
             |---- c ------|

Shapes: `B` documents, `T` tokens, `N` learned tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brulee.data.encoding import Encoded

if TYPE_CHECKING:
    import torch

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Model inputs, and which flattened position predicts which target.

    `lengths` are the documents' token counts; `positions` (N) and `targets` (N) on the inputs'
    device.
    """

    inputs: dict[str, Any]
    positions: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]
    packed: bool

    @property
    def tokens(self) -> int:
        """Real tokens, no padding."""
        return sum(self.lengths)

    @property
    def learned(self) -> int:
        """Tokens that carry loss."""
        return int(self.targets.shape[0])

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        import torch

        def move(value: Any) -> Any:
            moves = isinstance(value, torch.Tensor)
            return value.to(device, non_blocking=True) if moves else value

        inputs = {key: move(value) for key, value in self.inputs.items()}
        return Batch(inputs, move(self.positions), move(self.targets), self.lengths, self.packed)


def pack(documents: Sequence[Encoded]) -> Batch:
    """One row of all documents; attention must respect `cu_seq_lens_q`."""
    import torch

    lengths = tuple(len(d.ids) for d in documents)
    ids = [token for d in documents for token in d.ids]
    positions: list[int] = []
    targets: list[int] = []
    begin = 0
    for document, length in zip(documents, lengths, strict=True):
        _predict(document, begin, positions, targets)
        begin += length
    arguments = pack_arguments(lengths, torch.device("cpu"))
    inputs = {"input_ids": torch.tensor([ids]), **arguments}
    return Batch(inputs, torch.tensor(positions), torch.tensor(targets), lengths, True)


def pack_arguments(lengths: tuple[int, ...] | list[int], device: torch.device) -> dict[str, Any]:
    """The keyword arguments that tell a model where documents of these lengths begin."""
    import torch

    sizes = torch.tensor([0, *lengths], dtype=torch.int32)
    bounds = torch.cumsum(sizes, 0, dtype=torch.int32).to(device)
    positions = torch.cat([torch.arange(n) for n in lengths]).unsqueeze(0).to(device)
    longest = max(lengths)
    return {
        "position_ids": positions,
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def pad(documents: Sequence[Encoded], pad_id: int) -> Batch:
    """One row a document, padded on the right, with an attention mask."""
    import torch

    ids_BT, mask_BT = _right_padded([d.ids for d in documents], pad_id)
    width = ids_BT.shape[1]
    positions: list[int] = []
    targets: list[int] = []
    for row, document in enumerate(documents):
        _predict(document, row * width, positions, targets)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    lengths = tuple(len(d.ids) for d in documents)
    return Batch(inputs, torch.tensor(positions), torch.tensor(targets), lengths, False)


def pad_pairs(documents: Sequence[Encoded], pad_id: int, start_id: int) -> Batch:
    """Prompts for an encoder, completions shifted right for its decoder.

    Raises ValueError for a document with more than one learned span: the decoder writes one.
    """
    import torch

    if any(len(d.spans) > 1 for d in documents):
        raise ValueError("an encoder-decoder document has one learned span")
    ids_BT, mask_BT = _right_padded([d.prompt for d in documents], pad_id)
    shifted = [(start_id, *d.completion[:-1]) for d in documents]
    decoder_BT, decoder_mask_BT = _right_padded(shifted, pad_id)
    width = decoder_BT.shape[1]
    positions = [row * width + at for row, d in enumerate(documents) for at in range(d.learned)]
    targets = [token for d in documents for token in d.completion]
    inputs = {
        "input_ids": ids_BT,
        "attention_mask": mask_BT,
        "decoder_input_ids": decoder_BT,
        "decoder_attention_mask": decoder_mask_BT,
    }
    lengths = tuple(len(d.ids) for d in documents)
    return Batch(inputs, torch.tensor(positions), torch.tensor(targets), lengths, False)


def _predict(document: Encoded, begin: int, positions: list[int], targets: list[int]) -> None:
    """Note each learned token of a document at `begin`, and the position that has to predict it."""
    for start, end in document.spans:
        if start < 1:
            raise ValueError("nothing stands before the first learned token to predict it from")
        positions += range(begin + start - 1, begin + end - 1)
        targets += document.ids[start:end]


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
