"""Drafts: documents in framed segments, before tokenisation."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.data.chat_framing import ChatFraming
from brulee.data.framing import PlainFraming, Segment
from brulee.data.messages import FURTHER, Message
from brulee.data.template import Rendered
from brulee.data.tokens import Tokens, unshielded
from brulee.errors import InputError

Draft = list[Segment]
_TEXTS = ("content", *FURTHER)


class Drafts:
    """Frames rendered rows, with control tokens in the rows' texts shielded."""

    def __init__(self, framing: ChatFraming | PlainFraming, tokens: Tokens, eos: int) -> None:
        self._framing, self._tokens, self._eos = framing, tokens, eos

    def document(self, rendered: Rendered) -> Draft:
        """The segments of a row with its answer; a plain text is one segment without framing.

        Raises InputError for an empty completion.
        """
        if not rendered.completion.strip():
            raise InputError("the completion is empty: there is nothing to learn.")
        if rendered.plain:
            end = (self._eos,) if rendered.ends else ()
            return [Segment(self._tokens.shield(rendered.completion), True, end)]
        messages, tools = rendered.messages, rendered.tools
        reading = self.reading(messages, rendered.learn_history, tools)
        return [*reading, self._added(messages, rendered.answer, tools)]

    def reading(self, messages: Sequence[Message], learn: bool, tools: str = "") -> Draft:
        """The segments of a chat up to its answer; with `learn` the answers in it are learned."""
        if is_lone(messages, tools):
            return [Segment(self._framing.prompt(self._tokens.shield(messages[0]["content"])))]
        shielded, described = self._shielded(messages), self._tokens.shield(tools)
        found = self._framing.turns(shielded, learn, described)
        if shielded != messages or described != tools:
            _check_shields(found, self._framing.turns(messages, learn, tools))
        return found

    def _added(self, messages: Sequence[Message], answer: Message, tools: str) -> Segment:
        chat = [*messages, answer]
        shielded, described = self._shielded(chat), self._tokens.shield(tools)
        found = self._framing.added(shielded[:-1], shielded[-1], described)
        if shielded != chat or described != tools:
            _check_shields([found], [self._framing.added(messages, answer, tools)])
        return found

    def _shielded(self, messages: Sequence[Message]) -> list[Message]:
        """Messages with all their texts shielded.

        JSON texts are shielded unparsed: control tokens have no characters that JSON escapes.
        """
        shield = self._tokens.shield
        return [
            {key: shield(text) if text and key in _TEXTS else text for key, text in turn.items()}
            for turn in messages
        ]


def is_lone(messages: Sequence[Message], tools: str) -> bool:
    """Whether a chat is a single user message without tools."""
    return not tools and len(messages) == 1 and messages[0]["role"] == "user"


def _check_shields(shielded: Sequence[Segment], bare: Sequence[Segment]) -> None:
    """Reject a row whose shields the chat template does not reproduce unchanged."""
    if [unshielded(segment.text) for segment in shielded] != [segment.text for segment in bare]:
        raise InputError(
            "the row's text contains a control token, which the model's chat template does not "
            "write as plain text; remove it from the row."
        )
