"""A shuffle of range(size) computed one position at a time, without a table."""

from __future__ import annotations

from math import isqrt

# A Feistel network over fewer states than 8 x 8 is biased (test_permutation counts the orders).
_LEAST_SIDE = 8
_WORD = (1 << 64) - 1
_SPREAD, _SPREAD_AGAIN = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


def mixed(word: int) -> int:
    """A 64-bit word with every bit depending on all 64 of `word`.

    The finaliser of MurmurHash3 (Appleby 2011); a bijection on 64-bit words.
    """
    word = (word ^ word >> 33) * _SPREAD & _WORD
    word = (word ^ word >> 33) * _SPREAD_AGAIN & _WORD
    return word ^ word >> 33


def key_of(secret: int, number: int) -> int:
    """The key of shuffle `number` (an epoch) for a 64-bit `secret`, the same on every machine."""
    return mixed((secret + number * 0x9E3779B97F4A7C15) & _WORD)


# Two words for each of three double rounds: six rounds, where four already give a pseudo-random
# permutation (Luby and Rackoff 1988).
_ROUNDS = [(mixed(2 * number + 1), mixed(2 * number + 2)) for number in range(3)]


class Permutation:
    """One bijection of range(size) for every 64-bit key.

    Writes a position as (left, right) in a grid with sides of about sqrt(size), runs a Feistel
    network of modular additions over it, and repeats until the result is below `size` (the
    generalised Feistel cipher with cycle walking of Black and Rogaway 2002, "Ciphers with arbitrary
    finite domains"). Past 64 positions the grid has at most sqrt(size) excess cells, so a second
    pass is rare and the time does not depend on `size`.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one position, not {size}")
        self.size = size
        self._columns = max(isqrt(size - 1) + 1, _LEAST_SIDE)
        self._lines = max(-(-size // self._columns), _LEAST_SIDE)

    def at(self, position: int, key: int) -> int:
        """The image of `position`, both from 0 to size - 1."""
        if self.size == 1:
            return 0
        lines, columns = self._lines, self._columns
        while True:
            left, right = divmod(position, columns)
            for first, second in _ROUNDS:
                # The high half of two products; inlined, as function calls would double the time.
                word = (key ^ first ^ right) * _SPREAD & _WORD
                left = (left + ((word ^ word >> 32) * _SPREAD_AGAIN >> 32)) % lines
                word = (key ^ second ^ left) * _SPREAD & _WORD
                right = (right + ((word ^ word >> 32) * _SPREAD_AGAIN >> 32)) % columns
            position = left * columns + right
            if position < self.size:
                return position
