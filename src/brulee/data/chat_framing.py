"""The text round prompts and answers as a tokenizer's chat template writes it.

What the template does is tried, and not read: where a prompt and an answer stand in its text, how
an answer ends, and whether what was written stays as it is when the chat goes on.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from brulee.data.framing import MEND, FramingError, Segment
from brulee.data.messages import CALLS, NAME, REASONING, Message, is_learned
from brulee.data.thoughts import Begun, Thoughts, shown_by
from brulee.data.tool_template import FAILURES, ToolTemplate, example, needs_tools
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
_UNSHOWN = "the model's chat template does not show the reasoning of an answer, which would be lost"
_EACH = " To learn the calls as well, write a row that ends with each, and set split.group."


class ChatFraming:
    """What a tokenizer's chat template writes.

    `system` is put before chats that have no system message of their own; where the template takes
    none, it goes before the first user message. Raises InputError for a template that rewrites the
    prompt once an answer follows it.
    """

    bounds = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system: str | None, eos: int) -> None:
        self._tokenizer, self._system = tokenizer, system
        self._tools = ToolTemplate(self._applied)
        user = [{"role": "user", "content": "?"}]
        asked = self._apply(user, generate=True)
        whole = self._apply([*user, {"role": "assistant", "content": _MARK}], generate=False)
        begun = Begun.by(asked)
        self._begun = None if whole.startswith(asked) else begun
        self._ended = begun is not None and begun.over
        self.before, found, after = (self._said(asked, whole) or "").partition(_MARK)
        if not found:
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
        """A chat up to where its next answer is to be written."""
        return self._apply(messages, tools, generate=True)

    def turns(self, messages: Sequence[Message], learn: bool, tools: str = "") -> list[Segment]:
        """As `chat`, in segments; `learn` the answers in it.

        Raises FramingError where the template writes an earlier answer, or its prompt, otherwise
        than it would have been read and written in its turn; and for what it does not show.
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
        """An answer as it is written after a chat, with its end.

        Raises InputError for an answer that the template does not write after the same prompt.
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
        """The roles of which the template shows who speaks by name."""
        user: Message = {"role": "user", "content": "?"}
        chats: dict[str, list[Message]] = {
            "system": [{"role": "system", "content": "!"}, user],
            "user": [user],
            "assistant": [user, {"role": "assistant", "content": "!"}],
        }
        found = set()
        for role, chat in chats.items():
            named = [{**m, NAME: _MARK} if m["role"] == role else m for m in chat]
            try:
                if _MARK in self._apply(named, generate=False):
                    found.add(role)
            except InputError:
                continue
        return frozenset(found)

    def call_text(self) -> str:
        """What the template writes for an answer that calls a tool; "" where it shows none."""
        calls = example()
        if not self._tools.shows_calls:
            return ""
        try:
            return self.added(calls[:-1], calls[-1]).text
        except InputError:
            return ""

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that an answer may end with."""
        calls = example()
        if not self._tools.shows_calls:
            return self.end[-1:]
        try:
            end = self.added(calls[:-1], calls[-1]).end
        except InputError:
            return self.end[-1:]
        return tuple(dict.fromkeys((self.end[-1], end[-1])))

    def _without_end(self, said: str) -> tuple[str, tuple[int, ...]]:
        """What an answer with more than text says, and the ids that end it."""
        if said.endswith(self._after):
            return said.removesuffix(self._after), self.end
        # Llama has another token for the end of a call.
        special = sorted(self._tokenizer.all_special_tokens, key=len, reverse=True)
        found = re.search(rf"({'|'.join(map(re.escape, special))})\s*\Z", said)
        if found is None:
            raise FramingError(
                "the model's chat template ends an answer with tool calls without a token that "
                "says so, which the model could not learn."
            )
        return said[: found.start()], (int(self._tokenizer.convert_tokens_to_ids(found[1])),)

    def _text_of(self, end: tuple[int, ...]) -> str:
        """The text that ends an answer in the template; "" where it writes none."""
        if end == self.end:
            return self._end_text
        return "".join(map(str, self._tokenizer.convert_ids_to_tokens(list(end))))

    def _further(self, messages: Sequence[Message], written: str, tools: str) -> str:
        """What the template writes for the messages after what stands there already."""
        text = self.chat(messages, tools)
        if written and not (self._end_text and text.startswith(written)):
            raise FramingError(
                "the model's chat template writes an answer differently once the chat continues, "
                "so earlier answers cannot be learned as the model would write them; "
                f"{MEND}{_EACH if any(m.get(CALLS) for m in messages) else ''}"
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
        reasoning, answer = self._parted({"role": "assistant", "content": text})
        chat = [{"role": "user", "content": "?"}, answer]
        said = self._said(self._asked, self._apply(chat, generate=False), reasoning)
        if said is None or not said.endswith(self._after):
            return None
        if reasoning not in said:
            raise FramingError(f"{_UNSHOWN}; remove it.")
        return said.removesuffix(self._after)

    def _said(self, asked: str, whole: str, reasoning: str = "") -> str | None:
        """What a chat holds after its prompt, as a model has to write it; None where that changed.

        `reasoning` is put there where the prompt begins thoughts and the template leaves them out.
        """
        if whole.startswith(asked):
            return whole.removeprefix(asked)
        return None if self._begun is None else self._begun.ended(asked, whole, reasoning)

    def _parted(self, answer: Message) -> tuple[str, Message]:
        """The reasoning of an answer, and the answer as the template is to be given it.

        Thoughts in its text become its reasoning: not every template takes them out of there, and
        one whose prompt begins them may drop them.
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
        """The tags between which the model thinks before it answers, if its template knows any."""
        source = str(self._tokenizer.chat_template)
        return shown_by(self._asked, self.before, source, self._reasoned)

    def _reasoned(self, text: str, reasoning: str) -> str:
        chat = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": text, REASONING: reasoning},
        ]
        try:
            return self._said(self._asked, self._apply(chat, generate=False), reasoning) or ""
        except InputError:
            return ""

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
        count = next((n for n, token in enumerate(ids, start=1) if token in special), 0)
        if not count:
            return (eos,), ""
        before, name, rest = after.partition(str(tokenizer.convert_ids_to_tokens(ids[count - 1])))
        text = before + name
        # Command R7B ends what it says and then its turn; what ends the chat is no end of a turn.
        for token in ids[count:]:
            name = str(tokenizer.convert_ids_to_tokens(token))
            if token not in special or not rest.startswith(name):
                break
            if not self._goes_on_after(text + name):
                break
            count, text, rest = count + 1, text + name, rest.removeprefix(name)
        return tuple(ids[:count]), text

    def _goes_on_after(self, end: str) -> bool:
        """Whether an answer ends so too where another question follows it."""
        user = {"role": "user", "content": "?"}
        chat = [user, {"role": "assistant", "content": _MARK}, user]
        try:
            written = self._apply(chat, generate=False)
        except InputError:
            return False
        return written.partition(_MARK)[2].startswith(end)

    @functools.cached_property
    def _takes_system(self) -> bool:
        chat = [{"role": "system", "content": _MARK}, {"role": "user", "content": "?"}]
        try:
            return _MARK in self._written(chat, generate=True)
        except TemplateError:
            return False

    def _apply(self, messages: Sequence[Message], tools: str = "", *, generate: bool) -> str:
        return self._applied([self._tools.taken(m) for m in messages], tools, generate)

    def _applied(self, messages: Sequence[Mapping[str, Any]], tools: str, generate: bool) -> str:
        """Messages in the template's form, with the system message where it takes one."""
        if self._system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._system}, *messages]
        if messages[0]["role"] == "system" and messages[1:] and not self._takes_system:
            system, first, *rest = messages
            messages = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
        try:
            return self._written(messages, tools, generate=generate)
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
        self, messages: Sequence[Mapping[str, Any]], tools: str = "", *, generate: bool
    ) -> str:
        text = self._tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tools=json.loads(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=generate,
        )
        return str(text)
