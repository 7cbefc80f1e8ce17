"""The reasoning of a model: what it generates between two tags before its answer.

    <think>
    It rains there in May.
    </think>

    Take an umbrella.

The tags are found by rendering an answer with reasoning in the chat template; if it shows none,
from the text it puts before every answer, and from its source. The prompts of some models open the
reasoning (DeepSeek R1, Qwen3 Thinking), so the generated text has only the closing tag.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from brulee.data.messages import CALLS, REASONING
from brulee.data.template import Rendered

# The text of token ids, with control tokens or without.
Shown = Callable[[list[int], bool], str]

_NAME: Final = r"[\w:]*(?:think|thought|reason)[\w:]*"
_TAG: Final = re.compile(rf"(<(?P<angle>{_NAME})>|\[(?P<square>{_NAME})\])\s*\Z", re.IGNORECASE)
_PAIR: Final = re.compile(rf"<({_NAME})>\s*</\1>|\[({_NAME})\]\s*\[/\2\]", re.IGNORECASE)
_SIGNS: Final = ("<", "[")  # that open a tag


class Thoughts(NamedTuple):
    """The tags, without surrounding spaces; `begun` if the prompt ends with the opening tag.

    `plain` is the text before an answer without reasoning, if it does not start with the tag.
    """

    opening: str
    closing: str
    begun: bool = False
    plain: str = ""

    def starts(self, text: str) -> bool:
        """Whether generated text starts with reasoning."""
        return self.begun or text.lstrip().startswith(self.opening)

    def may_start(self, text: str) -> bool:
        """Whether partial text may still become the opening tag or `plain`."""
        begun = text.lstrip()
        return self.opening.startswith(begun) or self.plain.startswith(begun)

    def divided(self, text: str) -> tuple[str, str]:
        """The reasoning and the answer in generated text, both stripped.

        If the reasoning is not closed, the answer is empty.
        """
        if not self.starts(text):
            return "", text.strip().removeprefix(self.plain).lstrip()
        before, _, answer = text.partition(self.closing)
        return before.strip().removeprefix(self.opening).strip(), answer.strip()

    def held_by(self, text: str) -> bool:
        """Whether a row's answer has reasoning, between these tags or the usual ones.

        The closing one of these tags is enough: generated answers often lack the opening one.
        """
        begun = text.lstrip()
        usual = begun.startswith(USUAL.opening) and USUAL.closing in text
        return self.closing in text or begun.startswith(self.opening) or usual

    def taken_out(self, text: str) -> tuple[str, str]:
        """Like `divided`, for a row's answer."""
        if not self.held_by(text):
            return "", text
        own = self.closing in text or text.lstrip().startswith(self.opening)
        return (self if own else USUAL)._replace(begun=True).divided(text)

    def parted(self, ids: list[int], shown: Shown) -> tuple[str, str]:
        """Like `divided`, for token ids; control tokens are not part of the answer."""
        whole = shown(ids, True)
        if self.starts(whole):
            mark = self.closing
            if mark not in whole:
                return self.divided(whole)
        else:
            mark = self.plain
            if not mark or not whole.lstrip().startswith(mark):
                return "", shown(ids, False).strip()
        # The fewest ids that contain the mark; the last one may contain text after it as well.
        end = bisect_left(range(len(ids)), True, key=lambda n: mark in shown(ids[: n + 1], True))
        head = shown(ids[: end + 1], True)
        after = head.partition(mark)[2] + shown(ids[end + 1 :], False)
        return self.divided(head)[0], after.strip()


USUAL: Final = Thoughts("<think>", "</think>")
# Recognised by strings in the template's source if it shows no reasoning: Gemma 4's removes it.
_KNOWN: Final = (
    (USUAL, USUAL[:2]),
    (Thoughts("<|channel>thought", "<channel|>"), ("<|channel>", "<channel|>")),
)


def taught_by(answers: Sequence[str]) -> Thoughts | None:
    """The usual reasoning tags, if at least half of these answers use them, else None.

    A model whose chat template has no reasoning tags learns them from such rows.
    """
    thinking = sum(USUAL.starts(text) and USUAL.closing in text for text in answers)
    return USUAL if thinking and 2 * thinking >= len(answers) else None


def spoken_answer(rendered: Rendered) -> str:
    """A rendered row's answer without its reasoning."""
    more = rendered.answered_with
    text = more["content"] if more.get(REASONING) and not more.get(CALLS) else rendered.completion
    return USUAL.taken_out(text)[1] or text


class Begun(NamedTuple):
    """The end of a prompt that opens the reasoning, and the tags; `over` if it closes it too.

    `text` is that end, spaces included.
    """

    text: str
    thoughts: Thoughts
    over: bool = False

    @classmethod
    def by(cls, prompt: str) -> Begun | None:
        """The end of a prompt, if it is an opening tag or an empty reasoning block, else None."""
        if found := _TAG.search(prompt):
            return cls(found[0], _named(found["angle"], found["square"])._replace(begun=True))
        pairs = [pair for pair in _PAIR.finditer(prompt) if not prompt[pair.end() :].strip()]
        if pairs:
            return cls(prompt[pairs[0].start() :], _named(pairs[0][1], pairs[0][2]), over=True)
        for tags, _ in _KNOWN:
            empty = rf"{re.escape(tags.opening)}\s*{re.escape(tags.closing)}\s*\Z"
            if closed := re.search(empty, prompt):
                return cls(closed[0], tags, over=True)
        return None

    def ended(self, asked: str, whole: str, reasoning: str) -> str | None:
        """The text to generate after a prompt, from a rendered chat that lacks the prompt's end.

        Templates like DeepSeek R1's drop the reasoning of answers. `reasoning` is put back; without
        any, the block is closed empty. None if more of the prompt changed than its end.
        """
        before = asked.removesuffix(self.text)
        if before == asked or not whole.startswith(before):
            return None
        rest, closing = whole.removeprefix(before), self.thoughts.closing
        if self.over:
            return rest
        if rest.startswith(self.thoughts.opening):
            rest = rest.removeprefix(self.thoughts.opening)
        elif not rest.lstrip().startswith(closing):
            rest = f"\n{closing}\n\n{rest}"
        if reasoning and reasoning not in rest.partition(closing)[0]:
            gap = "\n" if self.text.endswith("\n") else ""
            return f"{reasoning}{gap}{rest.lstrip()}"
        return rest


def shown_by(
    prompt: str, before: str, source: str, written: Callable[[str, str], str]
) -> Thoughts | None:
    """The reasoning tags of a chat template, if any.

    `prompt` is its text up to an answer, `before` what it puts before every answer, `source` its
    Jinja source; `written` renders an answer and its reasoning and returns the text after the
    prompt.
    """
    found = Begun.by(prompt)
    begun = found.thoughts if found and not found.over else None
    reasoning, answer = "brulee-reasons", "brulee-answers"
    head, shown, rest = written(answer, reasoning).partition(reasoning)
    opening, closing = head.strip(), rest.partition(answer)[0].strip()
    if shown and answer in rest and _is_tag(closing):
        if _is_tag(opening):
            empty = before.strip().startswith(opening)
            return Thoughts(opening, closing, plain="" if empty else before.strip())
        if begun is not None:
            return begun._replace(closing=closing)
    if begun is not None and begun.closing in before:
        return begun
    if pair := _PAIR.search(before):
        return _named(pair[1], pair[2])
    return next((tags for tags, parts in _KNOWN if all(part in source for part in parts)), None)


def _is_tag(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def _named(angle: str | None, square: str | None) -> Thoughts:
    if angle:
        return Thoughts(f"<{angle}>", f"</{angle}>")
    return Thoughts(f"[{square}]", f"[/{square}]")
