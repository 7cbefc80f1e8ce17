"""The bytes of a tokenizer's tokens, for llguidance.

Llguidance reads most vocabularies itself. This module supplies those whose decoder only marks
spaces (T5, mT5, mBART) and that of ByT5, whose tokens are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from brulee.data.tokens import control_ids
from brulee.errors import InputError
from brulee.inference.token_texts import of_byt5, of_piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE: Final = "\u2581"
# Characters that JSON requires.
_NEEDED: Final = '{}[]":,-.\\0123456789truefalsn'


def read_tokens(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The tokenizer for llguidance. Raises InputError if the bytes of its tokens are unknown."""
    from llguidance import LLTokenizer, TokenizerWrapper
    from llguidance.hf import from_tokenizer

    slices = LLTokenizer.json_slices()  # token classes with precomputed masks
    try:
        return from_tokenizer(tokenizer, slices=slices)
    except ValueError:
        own = TokenizerWrapper(_Pieces(tokenizer))
    return LLTokenizer(own, slices=slices)


def check_writable(known: Any, text: str) -> None:
    """Raise InputError for a vocabulary that lacks a character of JSON or of this text."""
    # Lone surrogates are ignored, since they cannot be generated.
    for sign in dict.fromkeys(_NEEDED + text.encode("utf-8", "ignore").decode()):
        if known.decode_bytes(known.greedy_tokenize(sign)) != sign.encode():
            raise InputError(
                "this model's answers cannot be constrained to a JSON schema: its vocabulary has "
                f"no {sign!r}."
            )


class _Pieces:
    """The interface llguidance needs: bytes by token id, and the ids of a text."""

    bos_token_id = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.eos_token_id = tokenizer.eos_token_id
        self.special_token_ids = sorted(control_ids(tokenizer))
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.tokens = _bytes_of(tokenizer, pieces, set(self.special_token_ids))
        self._ids = {token: i for i, token in reversed(list(enumerate(self.tokens))) if token}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """Ids of exactly this text, by greedy longest match.

        The tokenizer itself would prepend a space.
        """
        found, at = list[int](), 0
        while at < len(text):
            sizes = range(min(self._longest, len(text) - at), 0, -1)
            size = next((n for n in sizes if text[at : at + n] in self._ids), 0)
            if not size:
                break
            found.append(self._ids[text[at : at + size]])
            at += size
        return found


def _bytes_of(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], special: set[int]
) -> list[bytes]:
    """The bytes of each token, empty for special tokens."""
    if type(tokenizer).__name__ == "ByT5Tokenizer":
        written = [of_byt5(piece) for piece in pieces]
    elif any(piece.startswith(_SPACE) for piece in pieces):
        written = [of_piece(piece) for piece in pieces]
    else:
        raise InputError(
            "this model's answers cannot be constrained to a JSON schema: the text of its tokens "
            f"is not known ({type(tokenizer).__name__})."
        )
    return [b"" if i in special else token for i, token in enumerate(written)]
