"""Decodes the token ids of a completion: its reasoning, its answer, its tool calls."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Self

from brulee.data.chat_framing import ChatFraming
from brulee.data.framing import PlainFraming
from brulee.data.thoughts import Thoughts
from brulee.data.tokens import Tokens, control_ids, control_tokens
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Completions:
    """The decoding half of an encoder."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: Tokens,
        framing: ChatFraming | PlainFraming,
    ) -> None:
        self.tokenizer, self._tokens, self._framing = tokenizer, tokens, framing
        # Reasoning tags that the training rows use and the chat template lacks.
        self.taught: Thoughts | None = None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids at the end of an answer in training."""
        return self._framing.end

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a completion at inference: those that end answers in training, and EOS.

        An engine also stops at those of the model's own settings (inference/session.py).
        """
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*self._framing.ends, *([eos] if eos is not None else [])]))

    def decode(self, ids: list[int]) -> str:
        """The text of a completion's answer, without its end-of-turn token (see `parted`)."""
        return self.parted(ids)[1]

    def parted(self, ids: list[int], thinking: bool = True) -> tuple[str, str]:
        """The reasoning and the answer of a completion.

        Both are without the end-of-turn token and the text that the chat template puts before every
        answer. Reasoning is the text between the template's tags; if it is not closed, the answer
        is empty. Without `thinking` the prompt has closed it, and none is looked for.
        """
        stops = set(self.stop_ids)
        kept = [i for i in ids if i not in stops]
        if self.thoughts is None or not thinking:
            return "", self._shown(kept).strip().removeprefix(self._shown_before).lstrip()
        return self.thoughts.parted(kept, self._shown)

    @property
    def thoughts(self) -> Thoughts | None:
        """The tags around the reasoning before an answer, if any."""
        return self._framing.thoughts or self.taught

    def thinking(self, taught: Thoughts | None) -> Self:
        """The same encoder for a model that learns to reason between tags its template lacks.

        Tags of the chat template take precedence.
        """
        if taught is None or self._framing.thoughts is not None:
            return self
        other = copy.copy(self)
        other.taught = taught
        for known in ("tag_ids", "hidden_ids"):
            other.__dict__.pop(known, None)
        return other

    @functools.cached_property
    def tag_ids(self) -> frozenset[int]:
        """The control tokens among those of the reasoning tags."""
        if self.thoughts is None:
            return frozenset()
        opening, closing, _, plain = self.thoughts
        ids = self.tokenizer(opening + closing + plain, add_special_tokens=False)["input_ids"]
        return frozenset(ids) & control_ids(self.tokenizer)

    @functools.cached_property
    def hidden_ids(self) -> frozenset[int] | None:
        """The control tokens that a text leaves out, all but those of the tags.

        None if there are no such tags, so that it leaves out what decoding skips.
        """
        return control_ids(self.tokenizer) - self.tag_ids if self.tag_ids else None

    @property
    def unthinking(self) -> list[int]:
        """The ids that close the reasoning block that a prompt opens; empty if it opens none."""
        if self.thoughts is None or not self.thoughts.begun:
            return []
        return self._tokens.batch([self._framing.before], bounds=False)[0]

    def without_thoughts(self, answer: str) -> str:
        """A row's answer without its reasoning, if any.

        Raises InputError if there is nothing else in it.
        """
        if self.thoughts is None or not (text := answer.strip()):
            return answer
        if not (found := self.thoughts.taken_out(text)[1]):
            raise InputError("the answer contains only reasoning, with nothing after it.")
        return answer if found == text else found

    @functools.cached_property
    def written_calls(self) -> WrittenCalls | None:
        """The parser for tool calls in generated text; None if their format is not known."""
        return WrittenCalls.of(self._framing.call_text(), control_tokens(self.tokenizer))

    @functools.cached_property
    def _shown_before(self) -> str:
        ids = self._tokens.batch([self._framing.before], bounds=False)[0]
        return self._shown(ids).strip()

    def _shown(self, ids: list[int], control: bool = False) -> str:
        # Exact, as inference.session.text_of is: some tokenizers remove the space before a comma.
        how = {"skip_special_tokens": not control, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(ids, **how))
