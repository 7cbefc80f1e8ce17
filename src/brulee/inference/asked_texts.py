"""Tokenisation of requests, in threads other than the computing one.

Callers change a tokenizer's settings (to spell control tokens out, to truncate nothing), so threads
must not share one: requests use a copy. The tokenizer's core releases the GIL while it works, which
takes seconds for a text of millions of characters.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from brulee.data.encoding import Encoder
from brulee.data.messages import NAME, Message, as_json
from brulee.data.thoughts import Thoughts
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError
from brulee.inference.call_form import HeldCalls, call_form
from brulee.inference.json_form import Form, json_form
from brulee.models.chat_templates import with_variables

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LONG: Final = 16  # characters per token, more than any text has on average
KWARGS: Final = "chat_template_kwargs"
_MOST_SAID, _MOST_VARIED = 4096, 16
Variables = Mapping[str, Any] | None


class AskedTexts:
    """A copy of a tokenizer, and encoders over it; thread-safe."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._encoders: dict[tuple[bool, str | None, str, str, str], Encoder] = {}
        self._turn = threading.Lock()

    def chat(
        self,
        encoder: Encoder,
        messages: Sequence[Message],
        tools: str = "",
        variables: Variables = None,
    ) -> list[int]:
        """As `Encoder.encode_chat`, with `variables` set in the chat template.

        Raises InputError for a speaker's name that the template drops, and for an unknown variable.
        """
        with self._turn:
            own = self._own(encoder, variables)
            check_names(messages, own.naming_roles)
            return own.encode_chat(messages, tools)

    def text(self, encoder: Encoder, text: str) -> list[int]:
        """As `Encoder.encode_raw`."""
        with self._turn:
            return self._own(encoder).encode_raw(text)

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of token ids, without control tokens."""
        with self._turn:
            return str(
                self._tokenizer.decode(
                    list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
            )

    def form(self, schema: Mapping[str, Any], place: str) -> Form:
        """As `json_form`."""
        with self._turn:
            return json_form(self._tokenizer, schema, place)

    def call_form(
        self,
        written: WrittenCalls,
        held: HeldCalls,
        answer: tuple[Mapping[str, Any], str] | None,
    ) -> Form:
        """As `call_form`."""
        with self._turn:
            return call_form(self._tokenizer, written, held, answer)

    def written_calls(self, encoder: Encoder) -> WrittenCalls | None:
        """As `Encoder.written_calls`."""
        with self._turn:
            return self._own(encoder).written_calls

    def thoughts(
        self, encoder: Encoder, variables: Variables = None
    ) -> tuple[Thoughts | None, list[int]]:
        """As `Encoder.thoughts`, with the ids that end reasoning begun by a prompt."""
        with self._turn:
            own = self._own(encoder, variables)
            return own.thoughts, own.unthinking

    def more_than(self, texts: Sequence[str], room: int) -> bool:
        """Whether texts exceed `room` tokens, if the beginning of them is enough to tell.

        False if it is not: only tokenising all of them would tell.
        """
        most = _LONG * room
        if sum(map(len, texts)) <= most:
            return False
        begun = "".join(texts)[:most]
        with self._turn:
            found = self._tokenizer(begun, add_special_tokens=False)["input_ids"]
        return len(found) > 2 * room  # the cut may add a few tokens

    def _own(self, encoder: Encoder, variables: Variables = None) -> Encoder:
        said = as_json(variables) if variables else ""
        if len(said) > _MOST_SAID:
            raise InputError(f"{KWARGS}: more than {_MOST_SAID:,} characters of values.")
        template, taught = str(encoder.tokenizer.chat_template), str(encoder.taught)
        key = (encoder.chat, encoder.system, template, taught, said)
        if key not in self._encoders:
            if variables:
                self._forget()
                encoder = _varied(encoder, variables)
            self._encoders[key] = encoder.over(self._tokenizer)
        return self._encoders[key].with_prefix(encoder.prefix_ids)

    def _forget(self) -> None:
        """Evict the oldest encoders with variables, whose number clients control."""
        varied = [key for key in self._encoders if key[-1]]
        for key in varied[: max(0, len(varied) + 1 - _MOST_VARIED)]:
            del self._encoders[key]


def _varied(encoder: Encoder, variables: Mapping[str, Any]) -> Encoder:
    if not encoder.chat:
        raise InputError(f"{KWARGS}: this model is asked without a chat template.")
    found = copy.copy(encoder)
    found.tokenizer = with_variables(encoder.tokenizer, variables, KWARGS)
    return found


def check_names(messages: Sequence[Message], shown: Collection[str]) -> None:
    """Raise InputError for a speaker's name in a role whose names the template does not show."""
    for number, message in enumerate(messages):
        role = message["role"]
        if message.get(NAME) and role != "tool" and role not in shown:
            raise InputError(
                f"messages[{number}].name = {message[NAME]!r}: this model's chat template does "
                f"not show the name of {role!r}, so it would be lost; write it into the text."
            )
