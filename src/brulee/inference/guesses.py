"""Guesses of next tokens by prompt lookup: what followed the same tokens before.

A pass over a few more tokens costs little more than one over a single token, since reading the
model's weights dominates. So the tokens that followed an earlier occurrence of the last two or
three, in the prompt or the completion, are read along with the newest one; those that the model
would have chosen are accepted, so the result is exactly the same (prompt lookup: Saxena 2023;
verified as in speculative decoding: Leviathan et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LONGEST = 16  # tokens guessed at a time
_ORDERS = (3, 2)  # n-gram lengths to match, in this order


class Guesses:
    """The tokens of one row, with an n-gram index to guess the next ones."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._trusted = 2
        self.add(prompt)

    def add(self, ids: Iterable[int]) -> None:
        """Append tokens."""
        for token in ids:
            for order in _ORDERS:
                if len(self._ids) >= order:
                    self._after[tuple(self._ids[-order:])] = len(self._ids)
            self._ids.append(token)

    def next(self, most: int) -> list[int]:
        """At most `most` guessed next tokens; a repeating text is guessed to keep repeating."""
        count = min(most, self._trusted)
        for order in _ORDERS:
            at = self._after.get(tuple(self._ids[-order:]))
            if at is not None:
                period = len(self._ids) - at
                return [self._ids[at + i % period] for i in range(count)]
        return []

    def heard(self, guessed: int, right: int) -> None:
        """Adapt the number of tokens guessed next time to how many of the last were right."""
        if guessed:
            self._trusted = min(LONGEST, 2 * guessed if right == guessed else right + 1)


def shared_out(wanted: Sequence[int], most: int) -> list[int]:
    """Max-min fair shares of `most` in all: small demands are met in full first."""
    given = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for place, i in enumerate(order):
        given[i] = min(wanted[i], most // (len(order) - place))
        most -= given[i]
    return given
