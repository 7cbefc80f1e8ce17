"""A generated completion, and the stop texts that end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Completion:
    """Token ids without the end token; their text, up to a stop text.

    `ids` and `tokens` include the stop text.
    """

    ids: tuple[int, ...]
    text: str

    @property
    def tokens(self) -> int:
        """Number of generated tokens."""
        return len(self.ids)


class StopTexts:
    """Finds the texts that end a completion."""

    def __init__(self, stop: Sequence[str], decode: Decode) -> None:
        self._stop = [text for text in stop if text]
        self.decode = decode
        # A token is at least a byte, so a stop text spans at most as many tokens as it has bytes;
        # 4 more in case the window begins inside a character's bytes.
        longest = max((len(text.encode()) for text in self._stop), default=0)
        self._window = longest + 4

    def reached(self, ids: list[int]) -> bool:
        """Whether the newest token completes a stop text."""
        if not self._stop:
            return False
        text = self.decode(ids[-self._window :])
        return any(stop in text for stop in self._stop)

    def completion(self, ids: list[int]) -> Completion:
        """The completion of these ids."""
        return Completion(tuple(ids), until(self.decode(ids), self._stop))


def until(text: str, stop: Sequence[str]) -> str:
    """The text before the first occurrence of any text in `stop`."""
    found = [at for at in (text.find(one) for one in stop if one) if at >= 0]
    return text[: min(found, default=len(text))]
