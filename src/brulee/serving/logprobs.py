"""Log-probabilities of an answer's tokens in OpenAI's two formats, whole and by chunks of a stream.

Listed is every token that the model chose, so also those of a stop text, of tool calls and of
reasoning, and the control token that ended the answer (as in vLLM).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from brulee.inference.scored import Scored
from brulee.inference.token_texts import TokenTexts

_DECODER: Final = codecs.getincrementaldecoder("utf-8")
_LEAST: Final = -9999.0  # for a probability of zero, which JSON has no number for; as OpenAI's


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token's bytes and log-probability, None for a text's first; the likeliest in its place."""

    written: bytes
    log_probability: float | None
    likeliest: tuple[tuple[bytes, float], ...] = ()
    control: bool = False  # not part of the text


def token_scores(texts: TokenTexts, scores: Sequence[Scored]) -> list[TokenScore]:
    """Scores with the tokens' bytes."""
    return [
        TokenScore(
            texts[one.token],
            one.log_probability,
            tuple((texts[token], value) for token, value in one.likeliest),
            one.token in texts.control,
        )
        for one in scores
    ]


class Logprobs:
    """The log-probabilities of one answer that are still to be sent."""

    def __init__(self, kind: Literal["chat", "text"]) -> None:
        self._kind, self._at = kind, 0
        self._decoder = _DECODER("replace")
        self._waiting: list[TokenScore] = []
        self._offsets: list[int] = []

    def add(self, scores: Sequence[TokenScore], text: str | None = None) -> None:
        """Add scores of tokens; with `text`, they are the tokens of this one, and others follow."""
        begin = self._at
        if text is not None and scores:  # nothing that is sent stands before it
            scores = [replace(scores[0], log_probability=None), *scores[1:]]
        for number, one in enumerate(scores):
            if text is not None and number == 0 and _drops_space(one, text):
                self._at -= 1
            written = b"" if one.control else one.written
            if written and written[0] & 0xC0 != 0x80:  # it does not go on with a character
                self._decode(b"", final=True)
            self._waiting.append(one)
            self._offsets.append(max(begin, self._at))
            self._decode(written)
        if text is not None:
            self._at, self._decoder = begin + len(text), _DECODER("replace")

    def _decode(self, written: bytes, final: bool = False) -> None:
        self._at += len(self._decoder.decode(written, final))

    def take(self) -> dict[str, Any] | None:
        """What was added since the last time; None if nothing was."""
        waiting, offsets = self._waiting, self._offsets
        self._waiting, self._offsets = [], []
        if not waiting:
            return None
        if self._kind == "chat":
            return {"content": [_of_chat(one) for one in waiting], "refusal": None}
        return {
            "text_offset": offsets,
            "token_logprobs": [_told(one.log_probability) for one in waiting],
            "tokens": [_shown(one.written) for one in waiting],
            "top_logprobs": [_by_token(one) for one in waiting],
        }


def _of_chat(one: TokenScore) -> dict[str, Any]:
    tops = [_entry(*each) for each in one.likeliest]
    return {**_entry(one.written, one.log_probability), "top_logprobs": tops}


def _entry(written: bytes, value: float | None) -> dict[str, Any]:
    return {"token": _shown(written), "logprob": _told(value), "bytes": list(written)}


def _by_token(one: TokenScore) -> dict[str, float | None] | None:
    """The likeliest tokens and the chosen one; of those that read the same, the likeliest."""
    if one.log_probability is None:
        return None
    found: dict[str, float | None] = {}
    for written, value in (*one.likeliest, (one.written, one.log_probability)):
        found.setdefault(_shown(written), _told(value))
    return found


def _told(value: float | None) -> float | None:
    return None if value is None else max(value, _LEAST)


def _shown(written: bytes) -> str:
    """A token as text; bytes that are no whole characters as OpenAI writes them."""
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)


def _drops_space(one: TokenScore, text: str) -> bool:
    """Whether the tokenizer put a space before a text, which is no part of it."""
    return one.written.startswith(b" ") and not text.startswith(" ")
