"""Divides plain texts that are too long for one document into pieces, each a document.

The pieces concatenate to the text, without loss or overlap. A cut is made at the end of a
paragraph, else of a line, else of a word, within the last quarter of what would fit, and otherwise
after the last token that fits. Only the last piece of a text ends with EOS. Blank pieces are
dropped.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from brulee.data.corpus import Corpus
from brulee.data.encoding import Encoder
from brulee.data.splits import Splits
from brulee.data.task import Division, Task
from brulee.data.template import GOES_ON, TEXT, Rendered
from brulee.errors import InputError
from brulee.progress import bar

_TOGETHER: Final = 256  # texts per call of the tokenizer
_LONG: Final = 20  # characters per token, beyond which hardly any text fits
# Where to cut. A space stays with the word after it, as they form one token.
_ENDS: Final = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n"), re.compile(r"(?=\s)"))


def divide(corpus: Corpus, encoder: Encoder) -> Corpus:
    """The corpus with every plain text in pieces of at most `encoder.max_length` tokens.

    These include the prefix ids of the method. Raises InputError naming the task for an
    encoder-decoder, which needs a prompt, and InputError if there is no room for text.
    """
    if not any(task.plain for task in corpus.tasks.values()):
        return corpus
    tasks = {
        path: _divided(path, task, encoder) if task.plain else task
        for path, task in corpus.tasks.items()
    }
    return replace(corpus, tasks=tasks)


def pieces(
    text: str, starts: Sequence[int], count: Callable[[str], int], most: int, frame: int
) -> list[str]:
    """The pieces of a text, each of at most `most` tokens including `frame` tokens around it.

    `starts` are the character offsets of the text's tokens; `count` returns the number of tokens of
    a piece with its frame, as a piece may be tokenised differently alone than within the text. It
    is not called for blank pieces. Raises ValueError if not even one token fits.
    """
    found, at = [], 0
    while at < len(text):
        room = most - frame
        piece = _next(text, at, starts, room)
        while piece.strip() and (excess := count(piece) - most) > 0:
            room -= excess
            piece = _next(text, at, starts, room)
        found.append(piece)
        at += len(piece)
    return found


def _next(text: str, at: int, starts: Sequence[int], room: int) -> str:
    first = bisect_left(starts, at)
    if room < 1:
        raise ValueError("not one token fits")
    if first + room >= len(starts):
        return text[at:]
    end = starts[first + room]
    if end <= at:
        raise ValueError("a character has more tokens than fit")
    return text[at : _good_end(text, at, end)]


def _good_end(text: str, at: int, end: int) -> int:
    least = end - max(1, (end - at) // 4)
    for pattern in _ENDS:
        found = (match.end() for match in pattern.finditer(text, least, end + 1))
        ends = [one for one in found if at < one <= end]
        if ends:
            return ends[-1]
    return end


def _divided(path: str, task: Task, encoder: Encoder) -> Task:
    if encoder.kind == "seq2seq":
        raise InputError(
            f"{path}: {task.rows.label} is plain text, which has no prompt for an encoder-decoder "
            "to read; use a decoder-only model, or give prompts with their completions."
        )
    texts = _texts(path, task, encoder)
    of = tuple(row for row, found in enumerate(texts) for _ in found)
    rows = task.rows.divided(TEXT, texts)
    goes_on = [a == b for a, b in zip(of, (*of[1:], -1), strict=True)]
    numbers: dict[int, list[int]] = {}
    for number, row in enumerate(of):
        numbers.setdefault(row, []).append(number)

    def numbered(chosen: Sequence[int]) -> tuple[int, ...]:
        return tuple(n for row in chosen for n in numbers[row])

    splits = Splits(
        train=numbered(task.train),
        validation=numbered(task.validation),
        test=numbered(task.test),
        spec=task.splits.spec,
        groups=tuple(task.splits.groups[row] if task.splits.groups else row for row in of),
    )
    return replace(
        task,
        rows=rows.replaced({GOES_ON: goes_on}),
        splits=splits,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        division=Division(task, of),
    )


def _texts(path: str, task: Task, encoder: Encoder) -> list[list[str]]:
    """The pieces of every row's text; rows in no split are not divided."""
    used = sorted({*task.train, *task.validation, *task.test})
    texts: list[list[str]] = [[""] for _ in range(len(task.rows))]
    most = encoder.max_length - len(encoder.prefix_ids)
    with bar(f"Dividing {path}", total=len(used), unit="texts") as progress:
        for start in range(0, len(used), _TOGETHER):
            part = used[start : start + _TOGETHER]
            whole = {row: one[TEXT] for row, one in zip(part, task.rows.some(part), strict=True)}
            # Texts that are almost certainly too long need not be counted first.
            counted = [row for row, text in whole.items() if len(text) < _LONG * most]
            tokens = _count(encoder, [whole[row] for row in counted])
            fits = {row for row, n in zip(counted, tokens, strict=True) if n <= most}
            for row, text in whole.items():
                texts[row] = [text] if row in fits else _of_long(text, encoder, most)
                progress.advance()
    return texts


def _of_long(text: str, encoder: Encoder, most: int) -> list[str]:
    frame = _count(encoder, ["a"])[0] - len(encoder.starts("a"))
    try:
        found = pieces(
            text, encoder.starts(text), lambda piece: _count(encoder, [piece])[0], most, frame
        )
    except ValueError:
        raise InputError(
            f"train.max_length leaves {most} tokens for a piece of a text, which is too few; "
            "raise it."
        ) from None
    return [piece for piece in found if piece.strip()]


def _count(encoder: Encoder, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text as a document, without the method's prefix ids."""
    shown = [Rendered("", text, None, plain=True) for text in texts]
    return [len(one.ids) - len(encoder.prefix_ids) for one in encoder.encode_all(shown)]
