"""From a task's example to the token ids that a model is asked about.

Plain framing reads the text as it stands. Context and choice are tokenised together and parted
where the context's own tokens end; white space at the context's end goes to the choice, with which
its first word is one token (as lm-evaluation-harness does it):

    "Answer:" + " A"    ->  | Answer | : | \u2423A |
                            '-- prompt --'
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from brulee.data.encoding import Encoded, Encoder
from brulee.errors import InputError
from brulee.evaluation.tasks import Example, Framing, Generation


@dataclass(frozen=True)
class Asked:
    """An example as token ids: a request for each choice, or a prompt to be continued.

    `shots` is how many of the example's shots there was room for.
    """

    example: Example
    requests: tuple[Encoded, ...]
    prompt: tuple[int, ...]
    generation: Generation | None
    shots: int

    @property
    def digest(self) -> str:
        """Identifies what the model is asked: the same digest has the same reply."""
        found = hashlib.sha256(repr(self.generation if self.prompt else None).encode())
        for ids, start in [(self.prompt, 0), *((r.ids, len(r.prompt)) for r in self.requests)]:
            found.update(array("q", [len(ids), start, *ids]).tobytes())
        return found.hexdigest()[:32]


def ask(
    examples: Sequence[Example],
    encoder: Encoder,
    framing: Framing,
    generation: Generation | None,
    room: int | None,
) -> list[Asked]:
    """Every example as token ids, with as many of its shots as fit into `room` tokens.

    Without any shot a text that is still too long loses its beginning. Raises InputError for an
    example without choices in a task that generates nothing, or so much that nothing of a question
    would be left.
    """
    asked: list[Asked | None] = [None] * len(examples)
    prefix = encoder.prefix_ids
    fits = None if room is None else room - len(prefix)
    seq2seq = encoder.kind == "seq2seq"
    if fits is not None and not (seq2seq or all(example.choices for example in examples)):
        _check_room(generation, fits)
    left = {i: len(example.shots) for i, example in enumerate(examples)}
    while left:
        group = list(left)
        drafts = _drafts([examples[i] for i in group], list(left.values()), encoder, framing)
        for i, draft in zip(group, drafts, strict=True):
            longest = _tokens(examples[i], draft, generation, seq2seq)
            excess = 0 if fits is None else max(0, longest - fits)
            if excess and left[i]:
                left[i] -= 1
                continue
            context = [*prefix, *draft.context[min(excess, len(draft.context) - 1) :]]
            asked[i] = _asked(examples[i], context, draft.choices, generation, left.pop(i))
    return [a for a in asked if a is not None]


def _check_room(generation: Generation | None, fits: int) -> None:
    if generation is not None and generation.max_new_tokens >= fits:
        raise InputError(
            f"answers of up to {generation.max_new_tokens} tokens leave no room for a question: "
            f"this model reads at most {fits} tokens; allow for fewer, such as {fits // 2}."
        )


@dataclass(frozen=True)
class _Draft:
    """Ids before the answer, and those of each choice."""

    context: list[int]
    choices: list[list[int]]


def _drafts(
    examples: Sequence[Example], shots: Sequence[int], encoder: Encoder, framing: Framing
) -> list[_Draft]:
    texts = [example.context(count) for example, count in zip(examples, shots, strict=True)]
    pairs = list(zip(texts, (example.choices for example in examples), strict=True))
    if framing == "chat":
        return [_chat_draft(text, choices, encoder) for text, choices in pairs]
    drafts = _seq2seq_drafts if encoder.kind == "seq2seq" else _plain_drafts
    found = drafts(pairs, encoder)
    return [_begun(draft, text, encoder) for draft, (text, _) in zip(found, pairs, strict=True)]


def _plain_drafts(pairs: Sequence[tuple[str, tuple[str, ...]]], encoder: Encoder) -> list[_Draft]:
    """All contexts, and all contexts with a choice, in one call of the tokenizer each."""
    bare = [text.rstrip() if choices else text for text, choices in pairs]
    contexts = encoder.encode_plain(bare)
    whole = iter(encoder.encode_plain([text + choice for text, cs in pairs for choice in cs]))
    found = []
    for context, (_, choices) in zip(contexts, pairs, strict=True):
        ids = [next(whole) for _ in choices]
        # A choice that melts into the context's last token still has its own last one.
        tails = [w[min(len(context), len(w) - 1) :] for w in ids]
        found.append(_Draft(context, tails))
    return found


def _seq2seq_drafts(pairs: Sequence[tuple[str, tuple[str, ...]]], encoder: Encoder) -> list[_Draft]:
    """The encoder reads the context; the decoder writes the choice and its end."""
    contexts = encoder.encode_plain([text for text, _ in pairs])
    tails = iter(encoder.encode_plain([c.strip() for _, choices in pairs for c in choices]))
    return [
        _Draft(context, [next(tails) for _ in choices])
        for context, (_, choices) in zip(contexts, pairs, strict=True)
    ]


def _chat_draft(text: str, choices: Sequence[str], encoder: Encoder) -> _Draft:
    start = len(encoder.prefix_ids)
    if not choices:
        return _Draft(encoder.encode_prompt(text)[start:], [])
    found = [encoder.encode(text, choice) for choice in choices]
    return _Draft(list(found[0].prompt[start:]), [list(one.completion) for one in found])


def _begun(draft: _Draft, text: str, encoder: Encoder) -> _Draft:
    """With something to read where there is no context."""
    if text or encoder.kind == "seq2seq":
        return draft
    if len(draft.choices) == 1:  # a text alone: its first token is given
        (whole,) = draft.choices
        return _Draft([*draft.context, *whole[:1]], [whole[1:]])
    return _Draft(draft.context or [_first_id(encoder)], draft.choices)


def _first_id(encoder: Encoder) -> int:
    """What stands before a text: the token that begins one, else the one that ends the last."""
    begins = encoder.tokenizer.bos_token_id
    return int(encoder.stop_ids[-1] if begins is None else begins)


def _tokens(example: Example, draft: _Draft, generation: Generation | None, seq2seq: bool) -> int:
    """Tokens of the longest document that an example asks about."""
    if draft.choices:
        return len(draft.context) + max(map(len, draft.choices))
    if generation is None:
        raise InputError(f"item {example.id}: it has no choices, and its task generates nothing.")
    # An encoder-decoder writes where it does not read.
    return len(draft.context) + (0 if seq2seq else generation.max_new_tokens)


def _asked(
    example: Example,
    context: list[int],
    choices: Sequence[Sequence[int]],
    generation: Generation | None,
    shots: int,
) -> Asked:
    requests = tuple(Encoded.ending([*context, *ids], len(ids)) for ids in choices)
    return Asked(example, requests, () if requests else tuple(context), generation, shots)
