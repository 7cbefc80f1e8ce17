"""Text as it is written: in pieces that are whole characters, and that no stop text will take back.

ids        t1     t2    t3     t4     t5
text       "I "   "am"  half   "é"    " ST"   "OP"
piece      "I"    " am" ""     "é"    ""      -> the stop text "STOP" is found: ""
"""

from __future__ import annotations

from collections.abc import Sequence

from brulee.inference.completion import Decode

_HALF = "\ufffd"  # what a character decodes to of which bytes are missing


class Spoken:
    """What may be shown of one answer. `strip`: without the spaces at its beginning and end."""

    def __init__(self, decode: Decode, stop: Sequence[str], strip: bool) -> None:
        self._decode, self._stop, self._strip = decode, [s for s in stop if s], strip
        self._text = self._shown = ""
        # Ids before `_read` are in the text. Some are decoded again from `_start` on, since what a
        # token's text is may depend on the one before it.
        self._start = self._read = 0

    def piece(self, ids: Sequence[int]) -> str:
        """What more may be shown, now that there are these ids."""
        before = self._decode(list(ids[self._start : self._read]))
        after = self._decode(list(ids[self._start :]))
        if len(after) > len(before) and not after.endswith(_HALF):
            self._text += after[len(before) :]
            self._start, self._read = self._read, len(ids)
        return self._show(self._safe(self._text))

    def rest(self, text: str) -> tuple[str, str]:
        """The whole answer, of the whole text, and what of it was not shown yet."""
        whole = self._trimmed(text).rstrip() if self._strip else text
        return whole, self._show(whole)

    def _trimmed(self, text: str) -> str:
        return text.lstrip() if self._strip else text

    def _safe(self, text: str) -> str:
        """Without an end that a stop text may begin with, or that may turn out to be the end."""
        longest = max((_begun(text, stop) for stop in self._stop), default=0)
        text = self._trimmed(text[: len(text) - longest])
        return text.rstrip() if self._strip else text

    def _show(self, text: str) -> str:
        if len(text) <= len(self._shown) or not text.startswith(self._shown):
            return ""
        piece = text[len(self._shown) :]
        self._shown = text
        return piece


def _begun(text: str, stop: str) -> int:
    """How many characters of a stop text's beginning are at the end; all from where it is whole."""
    at = text.find(stop)
    if at >= 0:
        return len(text) - at
    return next(
        (n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0
    )
