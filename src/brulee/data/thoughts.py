"""The thoughts of a reasoning model: what it writes between two tags before its answer.

    <think>
    It rains there in May.
    </think>

    Take an umbrella.

Which tags they are is tried on the chat template, by an answer with reasoning; where it shows none,
by what it puts before every answer, and by its own text. Some models' prompts begin the thoughts
(DeepSeek R1, Qwen3 Thinking), so that what is written has the closing tag alone.
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
_SIGNS: Final = ("<", "[")  # of a tag


class Thoughts(NamedTuple):
    """The tags, without the spaces round them; `begun` where the prompt ends with the first.

    `plain` is what stands before an answer without thoughts, where that is something else.
    """

    opening: str
    closing: str
    begun: bool = False
    plain: str = ""

    def starts(self, text: str) -> bool:
        """Whether what a model wrote begins with thoughts."""
        return self.begun or text.lstrip().startswith(self.opening)

    def may_start(self, text: str) -> bool:
        """Whether what is written so far may still go on to what stands before an answer."""
        begun = text.lstrip()
        return self.opening.startswith(begun) or self.plain.startswith(begun)

    def divided(self, text: str) -> tuple[str, str]:
        """The thoughts and the answer of what a model wrote, both without spaces round them.

        Thoughts that do not end have no answer after them.
        """
        if not self.starts(text):
            return "", text.strip().removeprefix(self.plain).lstrip()
        before, _, answer = text.partition(self.closing)
        return before.strip().removeprefix(self.opening).strip(), answer.strip()

    def held_by(self, text: str) -> bool:
        """Whether an answer as rows have it holds thoughts, between these tags or the usual ones.

        The second of these tags alone will do: what a model wrote often lacks the first.
        """
        begun = text.lstrip()
        usual = begun.startswith(USUAL.opening) and USUAL.closing in text
        return self.closing in text or begun.startswith(self.opening) or usual

    def taken_out(self, text: str) -> tuple[str, str]:
        """As `divided` of an answer as rows have it."""
        if not self.held_by(text):
            return "", text
        own = self.closing in text or text.lstrip().startswith(self.opening)
        return (self if own else USUAL)._replace(begun=True).divided(text)

    def parted(self, ids: list[int], shown: Shown) -> tuple[str, str]:
        """As `divided` of what token ids say; control tokens are no part of the answer."""
        whole = shown(ids, True)
        if self.starts(whole):
            mark = self.closing
            if mark not in whole:
                return self.divided(whole)
        else:
            mark = self.plain
            if not mark or not whole.lstrip().startswith(mark):
                return "", shown(ids, False).strip()
        # The fewest ids that hold the mark; its last one may hold what comes after it, too.
        end = bisect_left(range(len(ids)), True, key=lambda n: mark in shown(ids[: n + 1], True))
        head = shown(ids[: end + 1], True)
        after = head.partition(mark)[2] + shown(ids[end + 1 :], False)
        return self.divided(head)[0], after.strip()


USUAL: Final = Thoughts("<think>", "</think>")
# Told by the parts of a template's text, where it shows no reasoning. Gemma 4's takes it out.
_KNOWN: Final = (
    (USUAL, USUAL[:2]),
    (Thoughts("<|channel>thought", "<channel|>"), ("<|channel>", "<channel|>")),
)


def taught_by(answers: Sequence[str]) -> Thoughts | None:
    """The tags that half of these answers, or more, have their thoughts between.

    A model whose chat template knows no thoughts learns them from such rows.
    """
    thinking = sum(USUAL.starts(text) and USUAL.closing in text for text in answers)
    return USUAL if thinking and 2 * thinking >= len(answers) else None


def spoken_answer(rendered: Rendered) -> str:
    """An answer as people read it, without what was thought before it."""
    more = rendered.answered_with
    text = more["content"] if more.get(REASONING) and not more.get(CALLS) else rendered.completion
    return USUAL.taken_out(text)[1] or text


class Begun(NamedTuple):
    """A prompt's end that begins thoughts, and their tags; `over` where it ends them as well.

    `text` is that end as it stands there, spaces too.
    """

    text: str
    thoughts: Thoughts
    over: bool = False

    @classmethod
    def by(cls, prompt: str) -> Begun | None:
        """What a prompt ends with, where that is an opening tag, or empty thoughts."""
        if found := _TAG.search(prompt):
            return cls(found[0], _named(found["angle"], found["square"])._replace(begun=True))
        pairs = [pair for pair in _PAIR.finditer(prompt) if not prompt[pair.end() :].strip()]
        if not pairs:
            return None
        return cls(prompt[pairs[0].start() :], _named(pairs[0][1], pairs[0][2]), over=True)

    def ended(self, asked: str, whole: str, reasoning: str) -> str | None:
        """What has to be written after a prompt, by a chat that leaves the prompt's end out.

        Such a template (DeepSeek R1) shows answers without their thoughts. The `reasoning` is put
        where it was, empty thoughts where there is none. None where more than that end changed.
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
    """The tags that a chat template knows, if any.

    `prompt` is what it writes up to an answer, `before` what it puts there before every answer,
    `source` its own text; `written` gives what it writes after the prompt for an answer and its
    reasoning.
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
