"""From a task's example to the token ids of the requests to a model.

Plain framing uses the text unchanged. Context and choice are tokenised together and split after the
tokens that the context also has by itself; trailing white space of the context goes to the choice,
because it forms one token with the choice's first word (as in lm-evaluation-harness):

    "Answer:" + " A"    ->  | Answer | : | \u2423A |
                            '-- prompt --'

A token across the boundary is scored whole, for every choice of the example from the same place, so
that their likelihoods compare (the harness has the context's own tokens before it as well):

    "(" + "A)", "E)"    ->  | (A | ) |,  | ( | E | ) |
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from brulee.data.encoding import Encoded, Encoder
from brulee.errors import InputError
from brulee.evaluation.tasks import Example, Framing, Generation


@dataclass(frozen=True)
class Asked:
    """An example as token ids: a request for each choice, or a prompt to continue.

    `shots` is the number of the example's shots that fit.
    """

    example: Example
    requests: tuple[Encoded, ...]
    prompt: tuple[int, ...]
    generation: Generation | None
    shots: int

    @property
    def digest(self) -> str:
        """Identifies a request: equal digests have equal replies."""
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

    A text that is too long even without shots is truncated at its beginning. Raises InputError for
    an example without choices if the task has no `generation`, or one that leaves no room for a
    question.
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
    """The token ids before the answer, and those of each choice."""

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
    """Tokenise all contexts, and all contexts with a choice, in one tokenizer call each."""
    bare = [text.rstrip() if choices else text for text, choices in pairs]
    contexts = encoder.encode_plain(bare)
    whole = iter(encoder.encode_plain([text + choice for text, cs in pairs for choice in cs]))
    found = []
    for context, (_, choices) in zip(contexts, pairs, strict=True):
        ids = [next(whole) for _ in choices]
        kept = min([_shared(context, w) for w in ids], default=len(context))
        found.append(_Draft(context[:kept], [w[kept:] for w in ids]))
    return found


def _shared(context: Sequence[int], whole: Sequence[int]) -> int:
    """The number of leading tokens that both have, and after which `whole` goes on."""
    pairs = zip(context, whole[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _seq2seq_drafts(pairs: Sequence[tuple[str, tuple[str, ...]]], encoder: Encoder) -> list[_Draft]:
    """The encoder reads the context, the decoder the choice and its end token."""
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
    """Give the model a first token to read if there is no context."""
    if (text and draft.context) or encoder.kind == "seq2seq":
        return draft
    if not text and len(draft.choices) == 1:  # a plain text: its first token is the context
        (whole,) = draft.choices
        return _Draft([*draft.context, *whole[:1]], [whole[1:]])
    return _Draft(draft.context or [_first_id(encoder)], draft.choices)


def _first_id(encoder: Encoder) -> int:
    """The token before a text: the BOS token, or a stop token if there is none."""
    begins = encoder.tokenizer.bos_token_id
    return int(encoder.stop_ids[-1] if begins is None else begins)


def _tokens(example: Example, draft: _Draft, generation: Generation | None, seq2seq: bool) -> int:
    """The number of tokens of an example's longest document."""
    if draft.choices:
        return len(draft.context) + max(map(len, draft.choices))
    if generation is None:
        raise InputError(f"item {example.id}: it has no choices, and its task generates nothing.")
    # An encoder-decoder's output does not count towards its input.
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
