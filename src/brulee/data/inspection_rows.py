"""One row as the model sees it: its tokens, which are learned, and the prompt at inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brulee.data.encoding import Encoded, Encoder
from brulee.data.task import Task
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How byte-level tokenizers decode an incomplete character.
_PARTIAL = "\ufffd"


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token, or of several that make up one character."""

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool


@dataclass(frozen=True)
class Shown:
    """A row under one template.

    `pieces` are the training document; `prompt` is the exact text of the prompt at inference, and
    `same` whether its tokens are those of the document; `cut` counts the tokens cut from the
    source. `problem` says why there is no document. A `plain` text has no prompt.
    """

    task: str
    template: str
    held_out: bool
    row: int
    place: str
    tokens: int
    learned: int
    cut: int
    prompt: str
    same: bool
    pieces: tuple[Piece, ...]
    problem: str = ""
    plain: bool = False


def show(
    task: Task, path: str, encoder: Encoder, row: int, template: int, key: str
) -> Shown | None:
    """A row under a template; None if the template does not apply to it.

    `template` is an index into the trained templates followed by the held-out ones, which are
    rendered as in the test.
    """
    values, place = task.rows[row], task.rows.place(row)
    trained, held_out = task.templates.templates, template >= len(task.templates)
    chosen = (*trained, *task.held_out)[template]
    try:
        if held_out:
            shots = task.spec.shots.test if task.spec.shots else 0
            phrasing, key = task.phrasing(chosen, row, shots, "test"), ""
        else:
            phrasing = task.phrasing(chosen, row, task.shots_of(key), key)
        encoded = encoder.fit(phrasing, values, key)
    except InputError as error:
        return Shown(path, chosen.name, held_out, row, place, 0, 0, 0, "", False, (), str(error))
    if encoded is None:
        return None
    if chosen.plain:
        found = tuple(pieces(encoder.tokenizer, encoded))
        return Shown(path, chosen.name, held_out, row, place, len(encoded.ids), encoded.learned,
                     0, "", True, found, plain=True)  # fmt: skip
    room = encoder.max_length - (len(encoded.ids) - encoded.spans[-1][0])
    rendered = encoder.fit_rendered(phrasing, values, room, key)
    assert rendered is not None, "a row that was encoded renders, cut in the same way"
    text = encoder.question_text(rendered)
    same = tuple(encoder.encode_question(replace(rendered, learn_history=False))) == encoded.prompt
    found = tuple(pieces(encoder.tokenizer, encoded))
    return Shown(path, chosen.name, held_out, row, place, len(encoded.ids), encoded.learned,
                 encoded.cut, text, same, found)  # fmt: skip


def pieces(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> Iterator[Piece]:
    """The document's tokens as texts whose concatenation is the whole, special tokens included."""
    learned = {at for start, end in encoded.spans for at in range(start, end)}
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    before = start = 0
    for end in range(1, len(encoded.ids) + 1):
        # Decoded together with the piece before it: alone, a word would lose its space.
        shown = _text(tokenizer, encoded.ids[before:start])
        text = _text(tokenizer, encoded.ids[before:end])[len(shown) :]
        whole = end == len(encoded.ids) or (end in learned) != (end - 1 in learned)
        if text.endswith(_PARTIAL) and not whole:
            continue
        ids = encoded.ids[start:end]
        yield Piece(text, tuple(ids), start in learned, ids[0] in special)
        before, start = start, end


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    options: dict[str, Any] = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return str(tokenizer.decode(list(ids), **options)) if ids else ""
