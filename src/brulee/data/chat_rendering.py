"""Renders chats by a tokenizer's chat template, in the form that it takes them.

A system message that the template does not take goes before the first message of the user, and a
text that it shows only as a part of a list, as templates of vision-language models do, into one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError

from brulee.data.messages import CALLS
from brulee.data.tool_template import FAILURES, FramingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK: Final = "brulee-text-goes-here"
# How templates ask transformers for the date.
_TODAYS: Final = "strftime_now("
_TODAY: Final = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<form>[^"'\\]*)(?P=quote)\s*\)""")


class Rendering:
    """The text of a chat; `system` is added to chats without a system message.

    A template that prints the date prints `day`, and today's if that is None. Raises FramingError
    for several templates of which none is the default.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, system: str | None, day: date | None = None
    ) -> None:
        self._tokenizer, self._system = tokenizer, system
        self._template: str | None = None  # the tokenizer's own
        source = tokenizer.chat_template
        if isinstance(source, Mapping) and "default" not in source:
            raise FramingError(
                f"the tokenizer's chat templates ({', '.join(source)}) have no 'default'; write "
                "the one to use into a file and name that by model.chat_template, or set "
                "model.chat_template=none to train without one."
            )
        if day is not None and isinstance(source, str):
            self._template = source = _TODAY.sub(functools.partial(_written_out, day), source)
        self.changes = _TODAYS in str(source)  # at midnight

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: str,
        generate: bool,
        going_on: bool = False,
    ) -> str:
        """The text of messages and tools (JSON text), with or without a generation prompt.

        With `going_on` it ends inside the last message. Raises FramingError for what the template
        refuses.
        """
        if self._system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._system}, *messages]
        if messages[0]["role"] == "system" and messages[1:] and not self._takes_system:
            system, first, *rest = messages
            messages = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
        try:
            return self._written(messages, tools, generate=generate, going_on=going_on)
        except (TemplateError, *FAILURES) as error:
            roles = ", ".join(m["role"] for m in messages)
            if tools or any(CALLS in m for m in messages):
                raise FramingError(
                    f"the model's chat template refuses these tools or calls: {error} (roles: "
                    f"{roles})."
                ) from None
            raise FramingError(
                f"the model's chat template refuses the roles {roles}: {error}; "
                "set model.chat_template=none to train without it."
            ) from None

    def _written(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: str = "",
        *,
        generate: bool,
        going_on: bool = False,
    ) -> str:
        text = self._tokenizer.apply_chat_template(
            [_in_parts(m) if self._takes_parts else dict(m) for m in messages],
            tools=json.loads(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=generate,
            continue_final_message=going_on,
            chat_template=self._template,
        )
        return str(text)

    @functools.cached_property
    def _takes_parts(self) -> bool:
        """Whether the template shows a text only as a part of a list, as SmolVLM's does."""
        asked = {"role": "user", "content": MARK}

        def shows(message: Mapping[str, Any]) -> bool:
            try:
                text = self._tokenizer.apply_chat_template(
                    [dict(message)], tokenize=False, chat_template=self._template
                )
            except (TemplateError, *FAILURES):
                return False
            return MARK in str(text)

        return not shows(asked) and shows(_in_parts(asked))

    @functools.cached_property
    def _takes_system(self) -> bool:
        chat = [{"role": "system", "content": MARK}, {"role": "user", "content": "?"}]
        try:
            return MARK in self._written(chat, generate=True)
        except (TemplateError, *FAILURES):
            return False


def _written_out(day: date, asked: re.Match[str]) -> str:
    return json.dumps(day.strftime(asked["form"]))


def _in_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose text is a list of one part, as messages with images have it."""
    text = message.get("content")
    if not isinstance(text, str):
        return dict(message)
    return {**message, "content": [{"type": "text", "text": text}]}
