"""The framing of prompts and answers by a tokenizer's chat template.

The template is probed by rendering, not parsed: where it puts a prompt and an answer, how an answer
ends, and whether earlier text stays unchanged as the chat continues.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from brulee.data.chat_rendering import MARK, Rendering
from brulee.data.framing import MEND, FramingError, Segment
from brulee.data.messages import CALLS, NAME, REASONING, Message, is_learned
from brulee.data.thoughts import Begun, Thoughts, shown_by
from brulee.data.tokens import control_tokens
from brulee.data.tool_template import ToolTemplate, example, needs_tools
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts that a chat template may interpret or trim.
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
_USER: Sequence[Message] = ({"role": "user", "content": "?"},)
_PADDED = ("\n\nbegins with lines", "  has spaces round it \n", "ends with lines\n\n")
_UNSHOWN = "the model's chat template does not show the reasoning of an answer, which would be lost"
_EACH = " To learn the calls as well, write a row that ends with each, and set split.group."


class ChatFraming:
    """Frames chats with a tokenizer's chat template.

    `system` is added to chats without a system message; if the template does not support system
    messages, their text is prepended to the first user message. `day` is as for `Rendering`. Raises
    InputError for a template that changes the prompt once an answer follows it.
    """

    bounds = False

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        system: str | None,
        eos: int,
        day: date | None = None,
    ) -> None:
        self._tokenizer, self._render = tokenizer, Rendering(tokenizer, system, day)
        self._tools = ToolTemplate(self._render)
        asked = self._asked = self._apply(_USER, generate=True)
        whole = self._apply([*_USER, {"role": "assistant", "content": MARK}], generate=False)
        begun = Begun.by(asked)
        self._begun = None if whole.startswith(asked) else begun
        self._ended = begun is not None and begun.over
        self.before, found, after = (self._said(asked, whole) or "").partition(MARK)
        if not found:
            raise InputError(
                "the model's chat template rewrites the prompt once an answer follows it, so that "
                "training and inference would differ; set model.chat_template=none."
            )
        self._after = after
        self.end, self._end_text = self._end_of_turn(after, eos)
        self._frame = self._frame_of_prompts()
        self._answers_stand = self._writes_answers_as_they_are()

    def prompt(self, text: str) -> str:
        """The framed text of a single prompt, up to the answer."""
        if self._frame is None:
            return self.chat([{"role": "user", "content": text}])
        head, tail, strips = self._frame
        return f"{head}{text.strip() if strips else text}{tail}"

    def answer(self, text: str) -> str:
        """The text generated for an answer, without its end of turn.

        Raises InputError if the template changes the prompt or the end for this answer.
        """
        if self._answers_stand and not (self.thoughts and self.thoughts.held_by(text)):
            return self.before + text
        found = self._answered(text)
        if found is None:
            raise InputError(
                "the model's chat template rewrites the prompt or the end of this answer; "
                "set model.chat_template=none to train without it."
            )
        return found

    def chat(self, messages: Sequence[Message], tools: str = "") -> str:
        """The text of a chat up to its next answer."""
        return self._apply(messages, tools, generate=True)

    def turns(self, messages: Sequence[Message], learn: bool, tools: str = "") -> list[Segment]:
        """Like `chat`, in segments; with `learn` the answers in it are learned.

        Raises FramingError if the template renders an earlier answer or its prompt differently than
        when that answer was last, and for content that it does not show.
        """
        if needs_tools(messages, tools):
            self._tools.check(messages, tools)
        found: list[Segment] = []
        written = ""
        for at, message in enumerate(messages):
            if not learn or not is_learned(message):
                continue
            asked = self._further(messages[:at], written, tools)
            answer = self.added(messages[:at], message, tools)
            found += [Segment(asked), answer]
            written += asked + answer.text + self._text_of(answer.end)
        return [*found, Segment(self._further(messages, written, tools))]

    def added(self, messages: Sequence[Message], answer: Message, tools: str = "") -> Segment:
        """The segment of an answer that follows a chat, with its end of turn.

        Raises InputError if the template changes the chat once this answer follows it.
        """
        if not needs_tools([*messages, answer], tools):
            return Segment(self.answer(answer["content"]), True, self.end)
        reasoning, answer = self._parted(answer)
        chat = [*messages, answer]
        self._tools.check(chat, tools)
        asked, whole = self.chat(messages, tools), self._apply(chat, tools, generate=False)
        said = self._said(asked, whole, reasoning)
        if said is None:
            raise FramingError(
                "the model's chat template rewrites the chat once this answer follows it, so that "
                "training and inference would differ."
            )
        text, end = self._without_end(said)
        if reasoning not in text:
            raise FramingError(f"{_UNSHOWN}; write it into the answer's text, or remove it.")
        return Segment(text, True, end)

    @functools.cached_property
    def naming_roles(self) -> frozenset[str]:
        """The roles for which the template shows the speaker's name."""
        user: Message = {"role": "user", "content": "?"}
        chats: dict[str, list[Message]] = {
            "system": [{"role": "system", "content": "!"}, user],
            "user": [user],
            "assistant": [user, {"role": "assistant", "content": "!"}],
        }
        found = set()
        for role, chat in chats.items():
            named = [{**m, NAME: MARK} if m["role"] == role else m for m in chat]
            try:
                if MARK in self._apply(named, generate=False):
                    found.add(role)
            except InputError:
                continue
        return frozenset(found)

    def call_text(self) -> str:
        """The template's text for an answer that calls a tool; "" if it does not show calls."""
        calls = example()
        if not self._tools.shows_calls:
            return ""
        try:
            return self.added(calls[:-1], calls[-1]).text
        except InputError:
            return ""

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that may end an answer, with or without tool calls."""
        calls = example()
        if not self._tools.shows_calls:
            return self.end[-1:]
        try:
            end = self.added(calls[:-1], calls[-1]).end
        except InputError:
            return self.end[-1:]
        return tuple(dict.fromkeys((self.end[-1], end[-1])))

    def _without_end(self, said: str) -> tuple[str, tuple[int, ...]]:
        """The text of an answer with calls or reasoning, and the ids that end it."""
        if said.endswith(self._after):
            return said.removesuffix(self._after), self.end
        # Llama ends a call with a different token.
        special = sorted(control_tokens(self._tokenizer), key=len, reverse=True)
        found = re.search(rf"({'|'.join(map(re.escape, special))})\s*\Z", said)
        if found is None:
            raise FramingError(
                "the model's chat template ends an answer with tool calls without a token that "
                "says so, which the model could not learn."
            )
        return said[: found.start()], (int(self._tokenizer.convert_tokens_to_ids(found[1])),)

    def _text_of(self, end: tuple[int, ...]) -> str:
        """The text of an answer's end ids in the template; "" if it does not write them."""
        if end == self.end:
            return self._end_text
        return "".join(map(str, self._tokenizer.convert_ids_to_tokens(list(end))))

    def _further(self, messages: Sequence[Message], written: str, tools: str) -> str:
        """The template's text for the messages, from after the text `written` so far."""
        text = self.chat(messages, tools)
        if written and not self._end_text:
            raise FramingError(
                "the model's chat template ends an answer only by beginning the next turn, so "
                f"earlier answers have no end to learn; {MEND}"
            )
        if not text.startswith(written):
            raise FramingError(
                "the model's chat template writes an answer differently once the chat continues, "
                "so earlier answers cannot be learned as the model would write them; "
                f"{MEND}{_EACH if any(m.get(CALLS) for m in messages) else ''}"
            )
        return text[len(written) :]

    def _frame_of_prompts(self) -> tuple[str, str, bool] | None:
        """The text before and after any prompt, and whether the prompt is stripped.

        None if that text depends on the prompt, which is tested on awkward prompts, or on the date.
        """
        if self._render.changes:
            return None

        def framed(text: str) -> str:
            return self.chat([{"role": "user", "content": text}])

        head, found, tail = framed(MARK).partition(MARK)
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
        """Whether answers follow `before` unchanged, which is tested on awkward answers.

        Templates of reasoning models extract the reasoning from an answer and move it.
        """
        try:
            return all(self._answered(text) == self.before + text for text in _AWKWARD)
        except InputError:
            return False

    def _answered(self, text: str) -> str | None:
        """The template's text for an answer, without its end; None if it cannot be located."""
        reasoning, answer = self._parted({"role": "assistant", "content": text})
        said = self._said(self._asking(), self._apply([*_USER, answer], generate=False), reasoning)
        if said is None or not said.endswith(self._after):
            return None
        if reasoning not in said:
            raise FramingError(f"{_UNSHOWN}; remove it.")
        return said.removesuffix(self._after)

    def _asking(self) -> str:
        """The prompt of `_USER`."""
        return self._apply(_USER, generate=True) if self._render.changes else self._asked

    def _said(self, asked: str, whole: str, reasoning: str = "") -> str | None:
        """The text after the prompt, as the model has to generate it; None if the prompt changed.

        `reasoning` is inserted if the prompt opens a reasoning block that the template leaves out.
        """
        if whole.startswith(asked):
            return whole.removeprefix(asked)
        return None if self._begun is None else self._begun.ended(asked, whole, reasoning)

    def _parted(self, answer: Message) -> tuple[str, Message]:
        """The reasoning of an answer, and the answer to pass to the template.

        Reasoning inside the text is moved to its own field: not every template extracts it, and
        one whose prompt opens the reasoning may drop it.
        """
        reasoning, tags = (answer.get(REASONING) or "").strip(), self.thoughts
        if not reasoning and tags is not None and tags.held_by(answer["content"]):
            reasoning, text = tags.taken_out(answer["content"])
            others = tags.closing not in answer["content"]
            if self._begun or others or reasoning in self._reasoned(text, reasoning):
                answer = {**answer, "content": text, REASONING: reasoning}
        if reasoning and self._ended:
            raise FramingError(
                "the model's chat template closes the reasoning before an answer (as "
                "enable_thinking: false does), but this answer has reasoning; remove it from the "
                "rows, or let the model reason."
            )
        return reasoning, answer

    @functools.cached_property
    def thoughts(self) -> Thoughts | None:
        """The tags around the reasoning before an answer, if the template has any."""
        source = str(self._tokenizer.chat_template)
        return shown_by(self._asked, self.before, source, self._reasoned)

    def _reasoned(self, text: str, reasoning: str) -> str:
        answer = {"role": "assistant", "content": text, REASONING: reasoning}
        try:
            whole = self._apply([*_USER, answer], generate=False)
            return self._said(self._asking(), whole, reasoning) or ""
        except InputError:
            return ""

    def _end_of_turn(self, after: str, eos: int) -> tuple[tuple[int, ...], str]:
        """The ids that end an answer, and their text in the template, if any."""
        tokenizer = self._tokenizer
        said, ids = (
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (MARK, MARK + after)
        )
        # Tokenised after an answer, as some tokenizers put a space before the start of a text.
        ids = ids[len(said) :]
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        count = next((n for n, token in enumerate(ids, start=1) if token in special), 0)
        if not count:
            return (eos,), ""
        before, name, rest = after.partition(str(tokenizer.convert_ids_to_tokens(ids[count - 1])))
        text = before + name
        # Command R7B ends the response and then the turn; a token that ends the chat is excluded.
        for token in ids[count:]:
            name = str(tokenizer.convert_ids_to_tokens(token))
            if token not in special or not rest.startswith(name):
                break
            if self._begins_turns(name):  # Command A begins one after the last
                break
            if not self._goes_on_after(text + name):
                break
            count, text, rest = count + 1, text + name, rest.removeprefix(name)
        return tuple(ids[:count]), text

    def _begins_turns(self, name: str) -> bool:
        """Whether a chat begins with a control token, so that it ends no turn."""
        bos = str(self._tokenizer.bos_token or "")
        return self._asked.removeprefix(bos).lstrip().startswith(name)

    def _goes_on_after(self, end: str) -> bool:
        """Whether an answer has the same end when another question follows it."""
        user = {"role": "user", "content": "?"}
        chat = [user, {"role": "assistant", "content": MARK}, user]
        try:
            written = self._apply(chat, generate=False)
        except InputError:
            return False
        return written.partition(MARK)[2].startswith(end)

    def _apply(self, messages: Sequence[Message], tools: str = "", *, generate: bool) -> str:
        return self._render([self._tools.taken(m) for m in messages], tools, generate)
