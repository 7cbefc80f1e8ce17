"""Streaming text in pieces of whole characters that no stop text can revoke.

ids        t1     t2    t3     t4     t5
text       "I "   "am"  half   "é"    " ST"   "OP"
piece      "I"    " am" ""     "é"    ""      -> the stop text "STOP" is found: ""
"""

from __future__ import annotations

from collections.abc import Sequence

from brulee.inference.completion import Decode

_HALF = "\ufffd"  # what an incomplete character decodes to


class Spoken:
    """The text of one answer that can be shown; `strip` removes surrounding whitespace."""

    def __init__(self, decode: Decode, stop: Sequence[str], strip: bool) -> None:
        self._decode, self._stop, self._strip = decode, [s for s in stop if s], strip
        self._text = self._shown = ""
        # Ids before `_read` are in the text. Decoding begins at `_start`, since a token's text may
        # depend on the token before it.
        self._start = self._read = 0

    def piece(self, ids: Sequence[int]) -> str:
        """The new text that can be shown, given all ids so far."""
        before = self._decode(list(ids[self._start : self._read]))
        after = self._decode(list(ids[self._start :]))
        if len(after) > len(before) and not after.endswith(_HALF):
            self._text += after[len(before) :]
            self._start, self._read = self._read, len(ids)
        return self._show(self._safe(self._text))

    def rest(self, text: str) -> tuple[str, str]:
        """The complete answer, given the complete text, and the part of it not shown yet."""
        whole = self._trimmed(text).rstrip() if self._strip else text
        return whole, self._show(whole)

    def _trimmed(self, text: str) -> str:
        return text.lstrip() if self._strip else text

    def _safe(self, text: str) -> str:
        """The text without an end that may begin a stop text, or that may have to be stripped."""
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
    """Length of the text's end that begins a stop text, or from where it contains a whole one."""
    at = text.find(stop)
    if at >= 0:
        return len(text) - at
    return next(
        (n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0
    )
