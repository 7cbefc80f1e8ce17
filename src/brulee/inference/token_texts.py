"""What single tokens of a tokenizer say: their bytes, which need not be whole characters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from brulee.data.tokens import control_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE: Final = "\u2581"
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


class TokenTexts:
    """The bytes of tokens by id; not thread-safe. A control token is its name."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._known = tokenizer, dict[int, bytes]()
        self.control = control_ids(tokenizer)
        self._whole = {*self.control, *tokenizer.added_tokens_decoder}  # written as they are named
        self._read = _reader(tokenizer)

    def __getitem__(self, token: int) -> bytes:
        """Bytes of a token, b"" for an id without one (rows of a model past its tokenizer)."""
        if token not in self._known:
            piece = self._tokenizer.convert_ids_to_tokens(token)
            if piece is None:
                self._known[token] = b""
            elif token in self._whole:
                self._known[token] = str(piece).encode()
            else:
                self._known[token] = self._read(token, str(piece))
        return self._known[token]


def of_piece(piece: str) -> bytes:
    """The bytes of a SentencePiece token, which marks spaces and may name a byte."""
    byte = _BYTE.match(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode()


def of_byt5(piece: str) -> bytes:
    """The byte of a token of ByT5, b"" for one that is none."""
    return bytes([ord(piece)]) if len(piece) == 1 and ord(piece) < 256 else b""


def of_signs(bytes_of: Mapping[str, int], piece: str) -> bytes:
    """The bytes of a byte-level token, by its signs; a piece with any other is written as it is."""
    found = [bytes_of.get(sign) for sign in piece]
    return piece.encode() if None in found else bytes(byte for byte in found if byte is not None)


def _reader(tokenizer: PreTrainedTokenizerBase) -> Callable[[int, str], bytes]:
    """What reads the bytes of an id and its piece, by how the tokenizer decodes."""
    if type(tokenizer).__name__ == "ByT5Tokenizer":
        return lambda _, piece: of_byt5(piece)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    how = "" if decoder is None else json.dumps(json.loads(decoder.__getstate__()))
    if '"ByteLevel"' in how:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        bytes_of = {sign: byte for byte, sign in bytes_to_unicode().items()}
        return lambda _, piece: of_signs(bytes_of, piece)
    if json.dumps(_SPACE) in how or '"Metaspace"' in how:
        return lambda _, piece: of_piece(piece)
    return lambda token, _: str(tokenizer.decode([token])).encode()
