"""Encodes rows, prompts and chats as token ids, cut to the maximum length.

For the encoded document and how it is built from segments, see encoded.py.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar

from brulee.data.chat_framing import ChatFraming
from brulee.data.completions import Completions
from brulee.data.drafting import Draft, Drafts, is_lone
from brulee.data.encoded import DraftIds, Encoded, Kind
from brulee.data.framing import FramingError, PlainFraming, Segment
from brulee.data.messages import Message
from brulee.data.shortening import Phrasing, Shortened, shortened
from brulee.data.template import Rendered
from brulee.data.tokens import Tokens, is_shielded
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "Encoder", "Phrasing"]

# Documents per tokenizer call: enough to use every core, few enough for memory.
_BATCH = 256

Item = tuple[Phrasing, Mapping[str, Any], str]
T = TypeVar("T")


class Encoder(Completions):
    """Encodes prompts and completions, identically for training and inference.

    Text from a row never becomes a control token, even if it spells one. `day` is the date for chat
    templates that print one, today's by default.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        kind: Kind = "causal",
        chat_template: Literal["auto", "none"] = "auto",
        system: str | None = None,
        max_length: int = 1024,
        prefix_ids: tuple[int, ...] = (),
        day: date | None = None,
    ) -> None:
        self.kind, self.system, self._day = kind, system, day
        self.max_length, self.prefix_ids = max_length, prefix_ids
        self.chat = chat_template == "auto" and bool(tokenizer.chat_template) and kind == "causal"
        if system is not None and not self.chat:
            raise InputError("data.system: this model has no chat template to put it into.")
        eos = _eos(tokenizer)
        framing = ChatFraming(tokenizer, system, eos, day) if self.chat else PlainFraming(kind, eos)
        super().__init__(tokenizer, Tokens(tokenizer), framing)
        self._drafts = Drafts(framing, self._tokens, eos)
        self._ids = DraftIds(tokenizer, self._tokens, framing, kind)

    @property
    def digest(self) -> str:
        """Identifies the framing: encoders with the same digest produce the same tokens.

        It hashes the chat template's source, as the rendered text may contain the date.
        """
        template = repr(self.tokenizer.chat_template) if self.chat else self.prompt_text("?")
        ids = self.tokenizer("Is it so?")["input_ids"]
        frame = [self._framing.before, repr(self.end_ids)]
        parts = [self.kind, template, self.system or "", *frame, repr(ids)]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    def with_prefix(self, prefix_ids: tuple[int, ...]) -> Encoder:
        """The same encoder for a method whose documents start with these ids."""
        if prefix_ids == self.prefix_ids:
            return self
        other = copy.copy(self)
        other.prefix_ids = prefix_ids
        return other

    def over(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """The same encoder with another copy of its tokenizer, for another thread."""
        template: Literal["auto", "none"] = "auto" if self.chat else "none"
        own = copy.copy(tokenizer)
        own.chat_template = self.tokenizer.chat_template  # may come from the recipe
        found = Encoder(
            own,
            kind=self.kind,
            chat_template=template,
            system=self.system,
            max_length=self.max_length,
            prefix_ids=self.prefix_ids,
            day=self._day,
        )
        return found.thinking(self.taught)

    def prompt_text(self, prompt: str) -> str:
        """The framed prompt as text, including control tokens."""
        return self._framing.prompt(prompt)

    def chat_text(self, messages: Sequence[Message], tools: str = "") -> str:
        """The text of a conversation up to the assistant's turn.

        A system message in the conversation replaces the encoder's.
        """
        return "".join(
            segment.text + self.tokenizer.decode(segment.end)
            for segment in self._framing.turns(messages, False, tools)
        )

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a prompt at inference, the same as before a completion in training."""
        return self.encode_chat([{"role": "user", "content": prompt}])

    def encode_chat(self, messages: Sequence[Message], tools: str = "") -> list[int]:
        """Token ids of a conversation up to the assistant's turn.

        Unlike tokenised `chat_text`, control tokens spelt out in a message stay plain text.
        """
        return self._ids.of(self._drafts.reading(messages, False, tools), self.prefix_ids)

    def encode_question(self, rendered: Rendered, thinking: bool = True) -> list[int]:
        """Token ids of everything before a rendered row's last answer.

        Without `thinking`, a reasoning block that the prompt opens is closed.
        """
        messages, tools = rendered.messages, rendered.tools
        asked = self._ids.of(
            self._drafts.reading(messages, rendered.learn_history, tools), self.prefix_ids
        )
        return asked if thinking else asked + self.unthinking

    def question_text(self, rendered: Rendered) -> str:
        """The text of everything before a rendered row's last answer."""
        messages, tools = rendered.messages, rendered.tools
        if is_lone(messages, tools):
            return self.prompt_text(rendered.prompt)
        return self.chat_text(messages, tools)

    def answer_text(self, rendered: Rendered) -> str:
        """A rendered row's answer as `decode` would return it if the model generated exactly that.

        An answer of text only is returned as the row has it, others as the chat template formats
        them.
        """
        if not rendered.answered_with:
            return self.without_thoughts(rendered.completion)
        return self.decode(list(self.encode_rendered(rendered).completion))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a framed prompt. A chat template includes its own BOS token."""
        return self._ids.of([Segment(text)], self.prefix_ids)

    def encode_raw(self, text: str) -> list[int]:
        """Token ids of an unframed text for the model to continue, without a length limit.

        A text that begins with the BOS token, as a rendered chat may, does not get another.
        """
        ids, begins = list(self.tokenizer(text)["input_ids"]), self.tokenizer.bos_token_id
        if begins is not None and ids[:2] == [begins, begins]:
            ids = ids[1:]
        if self.kind == "causal" and ids[-1:] == [self.tokenizer.eos_token_id]:
            ids = ids[:-1]
        return [*self.prefix_ids, *ids]

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of unframed texts, with the BOS token where the tokenizer adds one.

        For an encoder-decoder, with the EOS token that its tokenizer adds as well.
        """
        shielded = [self._tokens.shield(text) for text in texts]
        found = self._tokens.batch(shielded, bounds=True)
        if self.kind == "seq2seq":
            return found
        return [ids[:-1] if ids[-1:] == [self.tokenizer.eos_token_id] else ids for ids in found]

    def encode(self, prompt: str, completion: str) -> Encoded:
        """Encode a document of any length. Raises InputError for an empty completion."""
        return self.encode_rendered(Rendered(prompt, completion, None))

    def encode_rendered(self, rendered: Rendered) -> Encoded:
        """Encode a rendered row of any length. Raises InputError for an empty completion."""
        return self._documents([self._drafts.document(rendered)])[0]

    def encode_all(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        """`encode_rendered` for many rows, in one call of the tokenizer."""
        return self._documents([self._drafts.document(one) for one in rendered])

    def text_alone(self, rendered: Rendered) -> Encoded | None:
        """A plain text without its EOS, for scoring; None if it is a single token."""
        draft = self._drafts.document(replace(rendered, ends=False))
        if len(self._ids.of(draft, ())) < 2:
            return None
        return self._documents([draft])[0]

    def starts(self, text: str) -> list[int]:
        """The character offset at which each token of an unframed text starts."""
        return [start for start, _ in self._offsets(text)]

    def fit(self, phrasing: Phrasing, row: Mapping[str, Any], key: str = "") -> Encoded | None:
        """Render and encode a row within `max_length` tokens; None if the phrasing does not apply.

        A document that is too long loses exemplars, then the oldest exchanges of a chat, then the
        end of its longest source column, but never the instruction, the last answer or its
        end-of-turn token. Raises InputError if it is too long even with an empty source, and for a
        plain text that is too long, which is not truncated but has to be divided (pieces.py).
        """
        return self._fit((phrasing, row, key))

    def fit_many(
        self, items: Iterable[Item], place: Callable[[int], str] = "document {}".format
    ) -> Iterator[Encoded | InputError | None]:
        """`fit` for many (phrasing, row, key), in order, with batched calls of the tokenizer.

        Errors are yielded in place of their documents; only a FramingError is raised, as it is due
        to the model and would recur for similar rows. `place` gives a document's location.
        """
        items, done = iter(items), 0
        while part := list(islice(items, _BATCH)):
            places = [functools.partial(place, done + n) for n in range(len(part))]
            done += len(part)
            found = zip(part, places, strict=True)
            drafts = [_attempt(self._draft_of, item, where) for item, where in found]
            encoded = iter(self._documents([d for d in drafts if _is_usual(d)]))
            for item, draft, where in zip(part, drafts, places, strict=True):
                if not isinstance(draft, list):
                    yield draft
                    continue
                full = next(encoded) if _is_usual(draft) else None
                if full is not None and len(full.ids) <= self.max_length:
                    yield full
                else:
                    yield _attempt(functools.partial(self._fitted, draft, full), item, where)

    def fit_rendered(
        self, phrasing: Phrasing, row: Mapping[str, Any], room: int, key: str = ""
    ) -> Rendered | None:
        """A row cut as by `fit`, to at most `room` tokens before its last answer.

        None if that is impossible or the phrasing does not apply.
        """
        found = self._shortened(phrasing, row, key, room)
        return None if found is None else found.rendered

    @property
    def naming_roles(self) -> frozenset[str]:
        """The roles whose speaker's name the model is shown."""
        return self._framing.naming_roles

    def _fit(self, item: Item) -> Encoded | None:
        draft = self._draft_of(item)
        return None if draft is None else self._fitted(draft, None, item)

    def _fitted(self, draft: Draft, full: Encoded | None, item: Item) -> Encoded:
        """A document within the maximum length; `full` is the draft's, if it is encoded already."""
        full = self._documents([draft])[0] if full is None else full
        if len(full.ids) <= self.max_length:
            return full
        if draft[0].learned:
            raise InputError(
                f"a text of {len(full.ids):,} tokens does not fit into {self.max_length:,}; it has "
                "to be divided."
            )
        answer = len(full.ids) - full.spans[-1][0]
        found = self._shortened(*item, self.max_length - answer)
        if found is None:
            raise InputError(
                f"{len(full.ids)} tokens, of which {answer} are the completion, do not fit into "
                f"train.max_length = {self.max_length}, even with the source text cut."
            )
        encoded = self._documents([self._drafts.document(found.rendered)])[0]
        cut = len(full.ids) - len(encoded.ids) if found.cut else 0
        return replace(encoded, cut=cut)

    def _shortened(
        self, phrasing: Phrasing, row: Mapping[str, Any], key: str, room: int
    ) -> Shortened | None:
        def read(rendered: Rendered) -> int:
            return len(self.encode_question(rendered))

        return shortened(phrasing, row, key, room, read, self._without_end)

    def _without_end(self, text: str, excess: int) -> str:
        offsets = self._offsets(text)
        keep = len(offsets) - excess
        # A character of several tokens is dropped as a whole: the offsets of each span all of it.
        while keep > 0 and offsets[keep - 1][1] > offsets[keep][0]:
            keep -= 1
        return text[: offsets[keep - 1][1]].rstrip() if keep > 0 else ""

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        if not self.tokenizer.is_fast:
            raise InputError(
                "the model's tokenizer gives no token offsets, which are needed to cut a text; "
                "raise train.max_length, or shorten longer texts."
            )
        found = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        return list(found["offset_mapping"])

    def _draft_of(self, item: Item) -> Draft | None:
        phrasing, row, key = item
        rendered = phrasing.render(row, key)
        return None if rendered is None else self._drafts.document(rendered)

    def _documents(self, drafts: Sequence[Draft]) -> list[Encoded]:
        return self._ids.documents(drafts, self.prefix_ids)


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise InputError("the model's tokenizer has no end-of-text token to learn to stop with.")
    return int(tokenizer.eos_token_id)


def _attempt(work: Callable[[Item], T], item: Item, place: Callable[[], str]) -> T | InputError:
    try:
        return work(item)
    except FramingError as error:
        raise FramingError(f"{place()}: {error}") from None
    except InputError as error:
        return error


def _is_usual(draft: Draft | InputError | None) -> TypeGuard[Draft]:
    """Whether it is a document in which no text spells a control token."""
    return isinstance(draft, list) and not any(is_shielded(s.text) for s in draft)
