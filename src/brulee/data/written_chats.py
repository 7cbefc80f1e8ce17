r"""Chats that were written out into one text, with marks before each turn, read back as turns.

<s>[INST] question [/INST] answer </s>                    Llama 2, Mistral
<|im_start|>user\nquestion<|im_end|>\n<|im_start|>...     ChatML, and others with a token per role
### Human: question### Assistant: answer                  Guanaco; ### Instruction: as in Alpaca
USER: question\nASSISTANT: answer                         Vicuna, at the beginning of lines
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from brulee.data.messages import Message

_USER = ("user", "human", "prompter", "instruction", "input", "question")
_SPEAKER = "user|human|prompter|assistant|gpt|ai"
_NAME = rf"(?P<role>{_SPEAKER}|model|system)"
_HEADING = rf"(?P<role>{'|'.join(_USER)}|assistant|response|answer|system)"
# The mark before a turn, by what it looks like.
_STYLES: dict[str, re.Pattern[str]] = {
    "<|im_start|>": re.compile(rf"<\|im_start\|>{_NAME}\n"),
    "<|start_header_id|>": re.compile(rf"<\|start_header_id\|>{_NAME}<\|end_header_id\|>\s*"),
    "<start_of_turn>": re.compile(rf"<start_of_turn>{_NAME}\n"),
    "<|user|>": re.compile(rf"<\|{_NAME}\|>\n?"),
    "[INST]": re.compile(r"\[(?P<role>/?INST)\]"),
    "###": re.compile(rf"#{{2,3}} ?{_HEADING}: ?", re.IGNORECASE),
    "a name and a colon": re.compile(
        rf"^(?P<role>{_SPEAKER}|system): ?", re.IGNORECASE | re.MULTILINE
    ),
}
# What only chats have; in others both speakers begin lines.
_MARK = re.compile(
    r"<\|(?:im_start|start_header_id|assistant|user)\|>|\[/INST\]|<start_of_turn>"
    r"|#{2,3} ?(?:Assistant|Response):"
)
_SPEAKERS = (
    re.compile(r"^(?:USER|User|Human): ", re.MULTILINE),
    re.compile(r"^(?:ASSISTANT|Assistant|AI): ", re.MULTILINE),
)
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>\s*", re.DOTALL)
# Tokens that begin or end a text or a turn.
_ENDS = (
    *("<s>", "</s>", "<bos>", "<eos>", "<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|end|>"),
    *("<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>"),
)
# What a turn still holds if there are marks of other turns than those that are read, as of tools.
_LEFT = re.compile(
    r"<\|\w+\|>|<(?:start|end)_of_turn>|\[/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]"
)
_OF_WORDS = ("###", "a name and a colon")  # styles that any text may quote
_MOST_ENDS = 4  # at either end of a turn


def are_written_out(texts: Sequence[str]) -> bool:
    """Whether more than half of the texts seem to be chats, also in a style that is not read."""
    found = (_MARK.search(text) or all(one.search(text) for one in _SPEAKERS) for text in texts)
    return 2 * sum(map(bool, found)) > len(texts)


def style_of(texts: Sequence[str]) -> str | None:
    """The style in which all texts are chats with a question and an answer, else None."""
    return next((s for s in _STYLES if texts and all(turns_of(text, s) for text in texts)), None)


def turns_of(text: str, style: str) -> list[Message]:
    """A text's turns; empty if no answer follows a question, and if marks are left in a turn.

    What is before the first mark is a system message. Turns of the user that follow each other are
    joined, as Alpaca's instruction and input.
    """
    spoken: list[tuple[str, list[str]]] = []
    for role, content in _pieces(text, _STYLES[style]):
        if spoken and role == "user" == spoken[-1][0]:
            spoken[-1][1].append(content)
        else:
            spoken.append((role, [content]))
    if ("user", "assistant") not in itertools.pairwise(role for role, _ in spoken):
        return []
    found = [{"role": role, "content": "\n\n".join(contents)} for role, contents in spoken]
    left = style not in _OF_WORDS and any(_LEFT.search(turn["content"]) for turn in found)
    return [] if left else found


def _pieces(text: str, mark: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """The role and the content of what is before the first mark and after each, if not empty."""
    marks = list(_marks(text, mark))
    ends = [*(one.start() for one in marks), len(text)]
    pieces = [("system", text[: ends[0]])]
    for one, end in zip(marks, ends[1:], strict=True):
        pieces.append((_role(one["role"].lower()), text[one.end() : end]))
    for role, content in pieces:
        told = _bare(content)
        if role == "user" and (system := _SYSTEM.match(told)):
            yield "system", system[1].strip()
            told = told[system.end() :]
        if told:
            yield role, told


def _marks(text: str, mark: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The marks with the first name of either side; a turn may hold lines with other names.

    A system message is the first turn; an instruction may be followed by its input.
    """
    names: dict[str, str] = {}
    for one in mark.finditer(text):
        name = one["role"].lower()
        role = _role(name)
        if role == "system" and names:
            continue
        if name == names.setdefault(role, name) or (names[role], name) == ("instruction", "input"):
            yield one


def _bare(content: str) -> str:
    """A turn without white space and tokens at its ends."""
    for _ in range(_MOST_ENDS):
        content = content.strip()
        for token in _ENDS:
            content = content.removeprefix(token).removesuffix(token)
    return content.strip()


def _role(name: str) -> str:
    if name == "system":
        return name
    return "user" if name in (*_USER, "inst") else "assistant"
