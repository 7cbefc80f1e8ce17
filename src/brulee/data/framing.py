"""The framing of prompts and answers in segments; here without a chat template.

A document is a list of segments, split where inference would switch between prompt and generation.
Each is tokenised separately, so the positions to learn are known from the lengths:

    <|im_start|>user⏎ ... <|im_end|>⏎<|im_start|>assistant⏎ | It is late. <|im_end|> | ⏎ ...
    '----------------------- prompt -----------------------'   '---- generated ----'   '- prompt

Without a chat template a prompt is followed by a newline and the answer. A chat with turns before
its prompt labels each turn with its speaker:

    Be kind.⏎⏎User:⏎Hi⏎⏎Assistant:⏎Hello</s>⏎⏎User:⏎How are you?⏎⏎Assistant:⏎

A system message followed only by the prompt is a paragraph before the prompt.

With a chat template (chat_framing.py) the template writes all of this. In a chat with tools, an
answer's segment is what the template adds when the answer is appended, calls included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from brulee.data.messages import CALLS, REASONING, Message, is_learned
from brulee.data.tool_template import FramingError

__all__ = ["MEND", "FramingError", "PlainFraming", "Segment"]

# The advice if a document's earlier answers cannot be learned.
MEND: Final = "data.turns: last learns the last answer only, and would work."


class Segment(NamedTuple):
    """Text that is tokenised separately, the ids appended to it, and whether both are learned."""

    text: str
    learned: bool = False
    end: tuple[int, ...] = ()


class PlainFraming:
    """Prompt, newline, answer, EOS; see the module's docstring for chats.

    `eos` ends an answer. For an encoder-decoder the prompt is unchanged.
    """

    bounds = True
    before = ""
    thoughts = None

    def __init__(self, kind: Literal["causal", "seq2seq"], eos: int) -> None:
        self._seq2seq, self.end = kind == "seq2seq", (eos,)
        self.ends = self.end

    def prompt(self, text: str) -> str:
        """The framed text of a single prompt, up to the answer."""
        return text if self._seq2seq or text.endswith("\n") else text + "\n"

    def answer(self, text: str) -> str:
        """The text generated for an answer, without its end."""
        return text

    def turns(self, messages: Sequence[Message], learn: bool, tools: str = "") -> list[Segment]:
        """The segments of a chat up to its last answer; with `learn` the answers in it are learned.

        Raises FramingError if an encoder-decoder would learn several answers, and for tools, calls
        and reasoning, which have no format without a chat template.
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
        """Empty, as there is no format for calls."""
        return ""

    def added(self, messages: Sequence[Message], answer: Message, tools: str = "") -> Segment:
        """The segment of an answer that follows a chat. Raises FramingError like `turns`."""
        _require_texts([*messages, answer], tools)
        return Segment(self.answer(answer["content"]), True, self.end)


def _require_texts(messages: Sequence[Message], tools: str) -> None:
    """Reject content that has no format without a chat template."""
    if tools or any(m.get(CALLS) or m.get(REASONING) for m in messages):
        raise FramingError(
            "without a chat template there is no format for tools, tool calls and reasoning; use "
            "a model that has one, or write them into the turns' text."
        )
