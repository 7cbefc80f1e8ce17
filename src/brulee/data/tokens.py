"""Batched tokenisation in which text from a row never becomes a control token.

A review may contain `<|im_end|>`. Encoded as the token, it would end the turn inside the text, so
every control token in a row's text is shielded before it is framed:

    <|im_start|>user⏎   He wrote <[shield]|im_end|>.   <|im_end|>⏎
    '--- framing ---'   '-------- the row --------'   '-framing-'

A shielded text is tokenised piecewise between the framing's control tokens, and those in the row
are spelt out as plain text; all other texts are tokenised in one batch. Added tokens that are not
special (`<think>`) are ordinary tokens and need no shield.

Many SentencePiece tokenizers put a space before any text. Text that continues other text must not
have it, so it is tokenised together with the end of the text before it:

    <|assistant|>⏎ | It is late.        ▁It ▁is ▁late alone, It ▁is ▁late here
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Private-use characters, put after the first character of a control token.
_SHIELD = "\ue0b3\ue0b1\ue0b3"
_SHIELDED = re.compile(f".{_SHIELD}", re.DOTALL)
_LINE = "\n"
_NEVER = re.compile(r"(?!)")
_PROBE = ("", "Is it so?", "  two \n\nlines", "caf\u00e9 \N{SNOWMAN} <b>")


class Tokens:
    """A tokenizer as a function from texts to ids."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, side: Literal["text", "text_target"] = "text"
    ) -> None:
        self._tokenizer, self._side = tokenizer, side
        self._control = _pattern(control_tokens(tokenizer))
        self._backend = self._proven_backend()
        self._joins = self._joins_as_it_stands()

    def shield(self, text: str) -> str:
        """Mark the control tokens in a row's text so that they are encoded as plain text."""
        if self._control.search(text) is None:
            return text
        return self._control.sub(lambda found: found[0][0] + _SHIELD + found[0][1:], text)

    def batch(self, texts: Sequence[str], *, bounds: bool) -> list[list[int]]:
        """Ids of each text; `bounds`: with the BOS and EOS tokens that the tokenizer adds.

        Raises InputError for a shielded text whose control token cannot be spelt out.
        """
        ids = self._encode([unshielded(text) for text in texts], bounds)
        for at, text in enumerate(texts):
            if is_shielded(text):
                ids[at] = self._spelt_out(text, bounds)
        return ids

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text that a decoder of its own writes, without BOS and EOS.

        Marian's tokenizer reads prompts and answers by two models, one for each language.
        """
        return self._written.batch(texts, bounds=False)

    @functools.cached_property
    def _written(self) -> Tokens:
        return Tokens(self._tokenizer, "text_target") if _reads_by_two(self._tokenizer) else self

    def continued(self, texts: Sequence[str], before: Sequence[str]) -> list[list[int]]:
        """Ids of each text as the continuation of the text before it."""
        if self._joins:
            return self.batch(texts, bounds=False)
        ends = [self._end(text) for text in before]
        heads = self.batch(ends, bounds=False)
        whole = self.batch(
            [end + text for end, text in zip(ends, texts, strict=True)], bounds=False
        )
        found = []
        for head, ids, text in zip(heads, whole, texts, strict=True):
            # If the tokenizer merged across the boundary, the ids cannot be separated.
            apart = ids[: len(head)] == head
            found.append(ids[len(head) :] if apart else self.batch([text], bounds=False)[0])
        return found

    def _end(self, text: str) -> str:
        """The control token or character at the end of a text."""
        *_, last = ["", *(match for match in self._control.finditer(text))]
        if isinstance(last, re.Match) and last.end() == len(text):
            return last[0]
        return text[-1:]

    def _joins_as_it_stands(self) -> bool:
        """Whether a text has the same ids as a continuation as it has alone."""
        ends = [_LINE, *self._tokenizer.all_special_tokens[:1]]
        by_itself = self.batch([_PROBE[1], *ends], bounds=False)
        joined = self.batch([end + _PROBE[1] for end in ends], bounds=False)
        return all(j == [*e, *by_itself[0]] for e, j in zip(by_itself[1:], joined, strict=True))

    def _spelt_out(self, text: str, bounds: bool) -> list[int]:
        if bounds:  # no control tokens from the framing: the tokenizer adds them
            return self._encode([unshielded(text)], bounds, plain=True)[0]
        bare = _SHIELDED.sub("", text)
        whole = self._encode([bare], bounds)[0]
        for going_on in (False, True):
            if self._by_stretches(bare, going_on) == whole:
                return self._by_stretches(text, going_on)
        found = self._control.search(unshielded(text[text.index(_SHIELD) - 1 :]))
        raise InputError(
            f"the row's text contains the control token {found[0] if found else '?'!r}, which "
            "this model's tokenizer cannot write as plain text; remove it from the row."
        )

    def _by_stretches(self, text: str, going_on: bool) -> list[int]:
        """The ids of a framed text, with the row's control tokens spelt out.

        `going_on`: tokenise the text after a control token as a continuation.
        """
        ids: list[int] = []
        for number, part in enumerate(self._control.split(text)):
            if number % 2:
                ids.append(int(self._tokenizer.convert_tokens_to_ids(part)))
            elif part:
                end = _LINE if going_on and number else ""
                head, found = self._encode([end, end + unshielded(part)], False, plain=True)
                ids += found[len(head) :]
        return ids

    def _encode(self, texts: Sequence[str], bounds: bool, plain: bool = False) -> list[list[int]]:
        if not texts:
            return []
        if self._backend is None:
            return self._slowly(texts, bounds, plain)
        return _directly(self._backend, texts, bounds, plain)

    def _slowly(self, texts: Sequence[str], bounds: bool, plain: bool) -> list[list[int]]:
        # Not every tokenizer supports the option, and few rows need it.
        options = {"split_special_tokens": True} if plain else {}
        given = {self._side: list(texts)}
        found = self._tokenizer(**given, add_special_tokens=bounds, **options)
        return list(found["input_ids"])

    def _proven_backend(self) -> Any:
        """The tokenizer's Rust backend, if it gives the same ids as the tokenizer; else None."""
        from transformers import PreTrainedTokenizerFast

        if not isinstance(self._tokenizer, PreTrainedTokenizerFast):
            return None
        core = self._tokenizer.backend_tokenizer
        probe = [*_PROBE, *(f"a{token} b" for token in self._tokenizer.all_special_tokens)]
        cases = [(bounds, plain) for bounds in (False, True) for plain in (False, True)]
        same = all(_directly(core, probe, *c) == self._slowly(probe, *c) for c in cases)
        return core if same else None


def _reads_by_two(tokenizer: PreTrainedTokenizerBase) -> bool:
    return hasattr(tokenizer, "spm_target")


def is_shielded(text: str) -> bool:
    """Whether a text contains a shielded control token."""
    return _SHIELD in text


def unshielded(text: str) -> str:
    """The original text, without shields."""
    return text.replace(_SHIELD, "")


def _directly(core: Any, texts: Sequence[str], bounds: bool, plain: bool) -> list[list[int]]:
    # The tokenizer sets these again on every call, so changing its backend is safe.
    if core.truncation is not None:
        core.no_truncation()
    if core.padding is not None:
        core.no_padding()
    core.encode_special_tokens = plain
    return [e.ids for e in core.encode_batch_fast(list(texts), add_special_tokens=bounds)]


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The special tokens, which decoding skips."""
    added = tokenizer.added_tokens_decoder.values()
    return {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids of `control_tokens`: many models' settings list only a few of them."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset({*tokenizer.all_special_ids, *(i for i, token in added if token.special)})


def _pattern(tokens: set[str]) -> re.Pattern[str]:
    # A token of a single character is ordinary text.
    longest_first = sorted((t for t in tokens if len(t) > 1), key=lambda t: (-len(t), t))
    if not longest_first:
        return _NEVER
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")
