"""The text round prompts and answers: what the chat template writes, or plain text without one.

A document is a list of segments. Each is tokenised by itself, where inference would stop reading
and begin to write, so that what is learned is counted and never searched for:

    <|im_start|>user⏎ ... <|im_end|>⏎<|im_start|>assistant⏎ | It is late. <|im_end|> | ⏎ ...
    '------------------------ read ------------------------'   '----- written -----'   '- read

Without a chat template a prompt is followed by a newline and the answer. A chat with more before
its prompt names who speaks:

    Be kind.⏎⏎User:⏎Hi⏎⏎Assistant:⏎Hello</s>⏎⏎User:⏎How are you?⏎⏎Assistant:⏎

A system message with nothing but the prompt after it is a paragraph before the prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from jinja2 import TemplateError

from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
# The key of a message whose value "0" says that it is read only.
WEIGHT = "weight"
_MARK = "brulee-text-goes-here"
# What a chat template may take for more than text, or trim.
_AWKWARD = (
    "?",
    "Two words.\n\nTwo lines",
    "{{ messages }}{% if %}",
    "<think>a</think>b",
    "</think>",
    "<tool_response>x</tool_response>",
    "<tool_call>x</tool_call>",
    "/no_think",
    "<b>&amp;\\n\\u00e9\N{SNOWMAN}\u200b\t\"'",
)
_PADDED = ("\n\nbegins with lines", "  has spaces round it \n", "ends with lines\n\n")
_EVERY = "data.turns: last learns the last answer only, and would work."


class FramingError(InputError):
    """The model's framing cannot hold such documents at all, whatever the row says."""


class Segment(NamedTuple):
    """Text that is tokenised by itself, the ids put after it, and whether both are learned."""

    text: str
    learned: bool = False
    end: tuple[int, ...] = ()


def is_learned(message: Message) -> bool:
    """Whether a message is an answer that is learned where the answers of its chat are."""
    return message["role"] == "assistant" and message.get(WEIGHT) != "0"


class PlainFraming:
    """Prompt, newline, answer, end of text; see above for chats.

    `eos` ends an answer. An encoder-decoder reads its prompt as it stands.
    """

    bounds = True
    before = ""

    def __init__(self, kind: Literal["causal", "seq2seq"], eos: int) -> None:
        self._seq2seq, self.end = kind == "seq2seq", (eos,)

    def prompt(self, text: str) -> str:
        """What is read before the answer to a lone prompt."""
        return text if self._seq2seq or text.endswith("\n") else text + "\n"

    def answer(self, text: str) -> str:
        """What is written, without its end."""
        return text

    def turns(self, messages: Sequence[Message], learn: bool) -> list[Segment]:
        """A chat up to where its last answer is to be written; `learn` the answers in it.

        Raises FramingError where an encoder-decoder is to learn several answers.
        """
        if learn and self._seq2seq and any(map(is_learned, messages)):
            raise FramingError(f"an encoder-decoder model learns one answer a document; {_EVERY}")
        if [message["role"] for message in messages] == ["system", "user"]:
            return [Segment(self.prompt("\n\n".join(m["content"] for m in messages)))]
        found, text = [], ""
        for message in messages:
            role, content = message["role"], message["content"]
            named = "" if role == "system" else f"{role.capitalize()}:\n"
            if role != "assistant" or self._seq2seq:
                text += f"{named}{content}\n\n"
                continue
            learned = learn and is_learned(message)
            found += [Segment(text + named), Segment(content, learned, self.end)]
            text = "\n\n"
        return [*found, Segment(f"{text}Assistant:\n")]


class ChatFraming:
    """What a tokenizer's chat template writes.

    `system` is put before chats that have no system message of their own; where the template takes
    none, it goes before the first user message. Raises InputError for a template that rewrites the
    prompt once an answer follows it.
    """

    bounds = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system: str | None, eos: int) -> None:
        self._tokenizer, self._system = tokenizer, system
        user = [{"role": "user", "content": "?"}]
        asked = self._apply(user, generate=True)
        whole = self._apply([*user, {"role": "assistant", "content": _MARK}], generate=False)
        self.before, found, after = whole.removeprefix(asked).partition(_MARK)
        if not whole.startswith(asked) or not found:
            raise InputError(
                "the model's chat template rewrites the prompt once an answer follows it, so that "
                "training and inference would differ; set model.chat_template=none."
            )
        self._asked, self._after = asked, after
        self.end, self._end_text = self._end_of_turn(after, eos)
        self._frame = self._frame_of_prompts()
        self._answers_stand = self._writes_answers_as_they_are()

    def prompt(self, text: str) -> str:
        """What is read before the answer to a lone prompt."""
        if self._frame is None:
            return self.chat([{"role": "user", "content": text}])
        head, tail, strips = self._frame
        return f"{head}{text.strip() if strips else text}{tail}"

    def answer(self, text: str) -> str:
        """What is written, without its end.

        Raises InputError for an answer that the template does not write after the same prompt.
        """
        if self._answers_stand:
            return self.before + text
        found = self._answered(text)
        if found is None:
            raise InputError(
                "the model's chat template rewrites the prompt or the end of this answer; "
                "model.chat_template=none does without it."
            )
        return found

    def chat(self, messages: Sequence[Message]) -> str:
        """A chat up to where its next answer is to be written."""
        return self._apply(messages, generate=True)

    def turns(self, messages: Sequence[Message], learn: bool) -> list[Segment]:
        """As `chat`, in segments; `learn` the answers in it.

        Raises FramingError where the template writes an earlier answer, or its prompt, otherwise
        than it would have been read and written in its turn.
        """
        found: list[Segment] = []
        written = ""
        for at, message in enumerate(messages):
            if not learn or not is_learned(message):
                continue
            asked = self._further(messages[:at], written)
            answer = self.answer(message["content"])
            found += [Segment(asked), Segment(answer, True, self.end)]
            written += asked + answer + self._end_text
        return [*found, Segment(self._further(messages, written))]

    def _further(self, messages: Sequence[Message], written: str) -> str:
        """What the template writes for the messages after what stands there already."""
        text = self.chat(messages)
        if written and not (self._end_text and text.startswith(written)):
            raise FramingError(
                "the model's chat template writes an answer otherwise once the chat goes on, so "
                f"that earlier answers cannot be learned as the model would write them; {_EVERY}"
            )
        return text[len(written) :]

    def _frame_of_prompts(self) -> tuple[str, str, bool] | None:
        """What stands before and after any prompt, and whether its outer spaces are taken off.

        None where the text round a prompt depends on it, as a probe of awkward prompts shows.
        """

        def framed(text: str) -> str:
            return self.chat([{"role": "user", "content": text}])

        head, found, tail = framed(_MARK).partition(_MARK)
        if not found:
            return None
        try:
            probes = {text: framed(text) for text in (*_AWKWARD, *_PADDED)}
        except InputError:
            return None
        for strips in (False, True):
            if all(f"{head}{t.strip() if strips else t}{tail}" == f for t, f in probes.items()):
                return head, tail, strips
        return None

    def _writes_answers_as_they_are(self) -> bool:
        """Whether every answer stands behind `before` as it is, as a probe of awkward ones shows.

        Reasoning models' templates take thoughts out of an answer and put them where they belong.
        """
        try:
            return all(self._answered(text) == self.before + text for text in _AWKWARD)
        except InputError:
            return False

    def _answered(self, text: str) -> str | None:
        """What the template writes for an answer, without its end; None where that is not clear."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
        whole = self._apply(chat, generate=False)
        if not (whole.startswith(self._asked) and whole.endswith(self._after)):
            return None
        return whole.removeprefix(self._asked).removesuffix(self._after)

    def _end_of_turn(self, after: str, eos: int) -> tuple[tuple[int, ...], str]:
        """The ids that end an answer, and their text in the template, if it has any."""
        tokenizer = self._tokenizer
        said, ids = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (_MARK, _MARK + after)
        )
        # Behind an answer, since by itself some tokenizers would put a space before it.
        ids = ids[len(said) :]
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        for count, token in enumerate(ids, start=1):
            if token in special:
                text, name, _ = after.partition(str(tokenizer.convert_ids_to_tokens(token)))
                return tuple(ids[:count]), text + name
        return (eos,), ""

    @functools.cached_property
    def _takes_system(self) -> bool:
        chat = [{"role": "system", "content": _MARK}, {"role": "user", "content": "?"}]
        try:
            return _MARK in self._written(chat, generate=True)
        except TemplateError:
            return False

    def _apply(self, messages: Sequence[Message], *, generate: bool) -> str:
        if self._system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._system}, *messages]
        if messages[0]["role"] == "system" and messages[1:] and not self._takes_system:
            system, first, *rest = messages
            messages = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
        try:
            return self._written(messages, generate=generate)
        except TemplateError as error:
            roles = ", ".join(m["role"] for m in messages)
            raise FramingError(
                f"the model's chat template refuses the roles {roles}: {error}; "
                "model.chat_template=none does without it."
            ) from None

    def _written(self, messages: Sequence[Message], *, generate: bool) -> str:
        said = [{key: m[key] for key in ("role", "content")} for m in messages]
        text = self._tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=generate
        )
        return str(text)
