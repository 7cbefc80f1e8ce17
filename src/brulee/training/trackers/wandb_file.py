"""The last step in a local W&B file; W&B has no function for this.

The format is LevelDB's log: blocks of 32 KiB that contain records or fragments of them. Each
fragment is preceded by a checksum (4 bytes), its length (2) and its type (1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BLOCK: Final = 32768
_PIECE: Final = struct.Struct("<IHB")
_HEADER: Final = b":W&B"
_HEADER_SIZE: Final = 7
_WHOLE, _LAST = 1, 4


def last_step(file: Path) -> int:
    """The highest step with a row in the file, 0 if there is none.

    Rows that W&B had not flushed when a training was killed are missing.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    last = 0
    for content in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            last = max(last, record.history.step.num)
    return last


def _records(content: bytes) -> Iterator[bytes]:
    """Every complete record, up to one cut short by a kill."""
    if content and not content.startswith(_HEADER):
        raise ValueError("a .wandb file that does not begin as those of W&B 0.19 to 0.31 do")
    at, record = _HEADER_SIZE, b""
    while at + _PIECE.size <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _PIECE.size:  # too little for a fragment: the block is padded with zeros
            at += left
            continue
        _, length, kind = _PIECE.unpack_from(content, at)
        at += _PIECE.size
        if not length or at + length > len(content):
            return
        record += content[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
