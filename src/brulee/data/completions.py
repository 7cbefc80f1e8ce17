"""What the token ids of a completion say: its answer, what was thought before it, its calls."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Self

from brulee.data.chat_framing import ChatFraming
from brulee.data.framing import PlainFraming
from brulee.data.thoughts import Thoughts
from brulee.data.tokens import Tokens, control_tokens
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Completions:
    """The part of an encoder that reads; its tokens and its framing are the encoder's."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: Tokens,
        framing: ChatFraming | PlainFraming,
    ) -> None:
        self.tokenizer, self._tokens, self._framing = tokenizer, tokens, framing
        # Tags that the chat template does not know, and the rows taught.
        self.taught: Thoughts | None = None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that training puts at the end of an answer."""
        return self._framing.end

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion at inference: what training put at its end, and EOS."""
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*self._framing.ends, *([eos] if eos is not None else [])]))

    def decode(self, ids: list[int]) -> str:
        """The text of a completion's answer, without its end-of-turn token; see `parted`."""
        return self.parted(ids)[1]

    def parted(self, ids: list[int], thinking: bool = True) -> tuple[str, str]:
        """The thoughts and the answer of a completion, without its end-of-turn token.

        Nor with what the chat template puts before every answer. Thoughts are what a reasoning
        model writes between the tags of its template; where they do not end, there is no answer.
        None are looked for where its prompt ended them, not `thinking`.
        """
        stops = set(self.stop_ids)
        kept = [i for i in ids if i not in stops]
        if self.thoughts is None or not thinking:
            return "", self._shown(kept).strip().removeprefix(self._shown_before).lstrip()
        return self.thoughts.parted(kept, self._shown)

    @property
    def thoughts(self) -> Thoughts | None:
        """The tags between which the model thinks before it answers, if any."""
        return self._framing.thoughts or self.taught

    def thinking(self, taught: Thoughts | None) -> Self:
        """The same encoder for a model that learns thoughts which its chat template does not know.

        Where the template knows some, they stay what they are.
        """
        if taught is None or self._framing.thoughts is not None:
            return self
        other = copy.copy(self)
        other.taught = taught
        other.__dict__.pop("tag_ids", None)
        return other

    @functools.cached_property
    def tag_ids(self) -> frozenset[int]:
        """The control tokens that the tags of thoughts are written with, if they are."""
        if self.thoughts is None:
            return frozenset()
        opening, closing, _, plain = self.thoughts
        ids = self.tokenizer(opening + closing + plain, add_special_tokens=False)["input_ids"]
        return frozenset(ids) & frozenset(self.tokenizer.all_special_ids)

    @property
    def unthinking(self) -> list[int]:
        """The ids that end the thoughts which a prompt begins; none where it begins none."""
        if self.thoughts is None or not self.thoughts.begun:
            return []
        return self._tokens.batch([self._framing.before], bounds=False)[0]

    def without_thoughts(self, answer: str) -> str:
        """An answer as a row has it, without thoughts that it may hold.

        Raises InputError where nothing else is in it.
        """
        if self.thoughts is None or not (text := answer.strip()):
            return answer
        if not (found := self.thoughts.taken_out(text)[1]):
            raise InputError("the answer contains only reasoning, with nothing after it.")
        return answer if found == text else found

    @functools.cached_property
    def written_calls(self) -> WrittenCalls | None:
        """How tool calls are found in what the model writes; None where that is not known."""
        return WrittenCalls.of(self._framing.call_text(), control_tokens(self.tokenizer))

    @functools.cached_property
    def _shown_before(self) -> str:
        ids = self._tokens.batch([self._framing.before], bounds=False)[0]
        return self._shown(ids).strip()

    def _shown(self, ids: list[int], control: bool = False) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=not control))
