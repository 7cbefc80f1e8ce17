"""The text round prompts and answers, in segments; here without a chat template.

A document is a list of segments. Each is tokenised by itself, where inference would stop reading
and begin to write, so that what is learned is counted and never searched for:

    <|im_start|>user⏎ ... <|im_end|>⏎<|im_start|>assistant⏎ | It is late. <|im_end|> | ⏎ ...
    '------------------------ read ------------------------'   '----- written -----'   '- read

Without a chat template a prompt is followed by a newline and the answer. A chat with more before
its prompt names who speaks:

    Be kind.⏎⏎User:⏎Hi⏎⏎Assistant:⏎Hello</s>⏎⏎User:⏎How are you?⏎⏎Assistant:⏎

A system message with nothing but the prompt after it is a paragraph before the prompt.

With one (chat_framing.py) all of that is what the template writes; of a chat with tools an answer
is what it writes when the answer is added: calls and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from brulee.data.messages import CALLS, REASONING, Message, is_learned
from brulee.data.tool_template import FramingError

__all__ = ["MEND", "FramingError", "PlainFraming", "Segment"]

# What to do where a document's earlier answers cannot be learned.
MEND: Final = "data.turns: last learns the last answer only, and would work."


class Segment(NamedTuple):
    """Text that is tokenised by itself, the ids put after it, and whether both are learned."""

    text: str
    learned: bool = False
    end: tuple[int, ...] = ()


class PlainFraming:
    """Prompt, newline, answer, end of text; see above for chats.

    `eos` ends an answer. An encoder-decoder reads its prompt as it stands.
    """

    bounds = True
    before = ""
    thoughts = None

    def __init__(self, kind: Literal["causal", "seq2seq"], eos: int) -> None:
        self._seq2seq, self.end = kind == "seq2seq", (eos,)
        self.ends = self.end

    def prompt(self, text: str) -> str:
        """What is read before the answer to a lone prompt."""
        return text if self._seq2seq or text.endswith("\n") else text + "\n"

    def answer(self, text: str) -> str:
        """What is written, without its end."""
        return text

    def turns(self, messages: Sequence[Message], learn: bool, tools: str = "") -> list[Segment]:
        """A chat up to where its last answer is to be written; `learn` the answers in it.

        Raises FramingError where an encoder-decoder is to learn several answers, and for tools,
        calls and reasoning, which have no form without a chat template.
        """
        _require_texts(messages, tools)
        if learn and self._seq2seq and any(map(is_learned, messages)):
            raise FramingError(f"an encoder-decoder model learns one answer a document; {MEND}")
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

    naming_roles: frozenset[str] = frozenset()

    def call_text(self) -> str:
        """There is no form for calls."""
        return ""

    def added(self, messages: Sequence[Message], answer: Message, tools: str = "") -> Segment:
        """An answer as it is written after a chat. Raises FramingError as `turns`."""
        _require_texts([*messages, answer], tools)
        return Segment(self.answer(answer["content"]), True, self.end)


def _require_texts(messages: Sequence[Message], tools: str) -> None:
    """Refuse what has no form without a chat template."""
    if tools or any(m.get(CALLS) or m.get(REASONING) for m in messages):
        raise FramingError(
            "without a chat template there is no format for tools, tool calls and reasoning; use "
            "a model that has one, or write them into the turns' text."
        )
