"""A shuffle of range(size) computed one position at a time, without a table."""

from __future__ import annotations

import hashlib
import struct
from math import isqrt

_ROUNDS = 6
# A network over fewer states than 8 x 8 favours some orders (test_permutation counts them).
_LEAST_SIDE = 8
_WORD = (1 << 64) - 1

Keys = tuple[int, ...]


def derive_keys(secret: bytes, number: int) -> Keys:
    """The round keys of shuffle `number` (an epoch), with one 64-bit word more to draw from.

    The keys are one BLAKE2b digest, so equal on every machine; `secret` always has one length.
    """
    size = 8 * (_ROUNDS + 1)
    digest = hashlib.blake2b(secret + number.to_bytes(8, "little"), digest_size=size).digest()
    return struct.unpack(f"<{_ROUNDS + 1}Q", digest)


def mixed(word: int) -> int:
    """A 64-bit word with every bit depending on all 64 of `word`.

    The finaliser of MurmurHash3 (Appleby 2011); a bijection on 64-bit words.
    """
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & _WORD
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & _WORD
    return word ^ word >> 33


class Permutation:
    """One bijection of range(size) for every tuple of keys.

    Writes a position as (left, right) in a grid of about sqrt(size) a side, runs a Feistel network
    of modular additions over it and walks on until it lands inside `size` (the generalised Feistel
    of Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). The grid has fewer than
    sqrt(size) + 1 cells too many, so a second walk is rare and time does not depend on `size`.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one position, not {size}")
        self.size = size
        self._columns = max(isqrt(size - 1) + 1, _LEAST_SIDE)
        self._lines = max(-(-size // self._columns), _LEAST_SIDE)

    def at(self, position: int, keys: Keys) -> int:
        """Where `position`, from 0 to size - 1, goes."""
        if self.size == 1:
            return 0
        position = self._walk(position, keys)
        while position >= self.size:
            position = self._walk(position, keys)
        return position

    def _walk(self, position: int, keys: Keys) -> int:
        left, right = divmod(position, self._columns)
        for step in range(0, _ROUNDS, 2):
            left = (left + mixed(keys[step] ^ right)) % self._lines
            right = (right + mixed(keys[step + 1] ^ left)) % self._columns
        return left * self._columns + right
