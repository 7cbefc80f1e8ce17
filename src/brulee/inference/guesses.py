"""What a text may go on with: what it went on with where it said the same before.

A pass over a few tokens more costs little more than one over the first, as the model's weights are
what takes time to read. So the tokens that followed the last two or three where they stood before,
in the prompt or in what was written, are read along with the newest one; those that the model
would have chosen are then written, at once and exactly (prompt lookup: Saxena 2023; verified as in
speculative decoding: Leviathan et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LONGEST = 16  # tokens guessed at a time
_ORDERS = (3, 2)  # how many tokens have to be the same, tried from the first on


class Guesses:
    """The tokens of one row, and what they may go on with."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._trusted = 2
        self.add(prompt)

    def add(self, ids: Iterable[int]) -> None:
        """Take note of the next tokens."""
        for token in ids:
            for order in _ORDERS:
                if len(self._ids) >= order:
                    self._after[tuple(self._ids[-order:])] = len(self._ids)
            self._ids.append(token)

    def next(self, most: int) -> list[int]:
        """At most so many tokens that may follow; a text that goes round in circles goes on so."""
        count = min(most, self._trusted)
        for order in _ORDERS:
            at = self._after.get(tuple(self._ids[-order:]))
            if at is not None:
                period = len(self._ids) - at
                return [self._ids[at + i % period] for i in range(count)]
        return []

    def heard(self, guessed: int, right: int) -> None:
        """How many of the last guess were right: more or fewer are tried next time."""
        if guessed:
            self._trusted = min(LONGEST, 2 * guessed if right == guessed else right + 1)


def shared_out(wanted: Sequence[int], most: int) -> list[int]:
    """How many of what each wants it gets, of `most` in all: the least demanding first."""
    given = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for place, i in enumerate(order):
        given[i] = min(wanted[i], most // (len(order) - place))
        most -= given[i]
    return given
