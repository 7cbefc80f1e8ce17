"""Token ids of a document, and which of them are learned.

A document is built from segments whose role is known (prompt, completion, end of turn), each
tokenised by itself, so that what carries loss is counted and never searched for:

    <|im_start|>user ... <|im_end|> <|im_start|>assistant | The customer asked ... <|im_end|>
    '---------------------- prompt ---------------------' '------------ learned -----------'
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jinja2 import TemplateError

from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "brulee-completion-goes-here"
_CUTS = 6


@dataclass(frozen=True)
class Encoded:
    """A document's token ids; the last `learned` of them carry loss."""

    ids: tuple[int, ...]
    learned: int
    cut: int = 0  # tokens taken out of the source field to fit

    @property
    def prompt(self) -> tuple[int, ...]:
        """What the model reads."""
        return self.ids[: len(self.ids) - self.learned]

    @property
    def completion(self) -> tuple[int, ...]:
        """What it must write, its end-of-turn token included."""
        return self.ids[len(self.ids) - self.learned :]


class _Rendered(Protocol):
    @property
    def prompt(self) -> str: ...
    @property
    def completion(self) -> str: ...


class _Template(Protocol):
    @property
    def source_columns(self) -> tuple[str, ...]: ...
    def render(self, row: Mapping[str, Any], key: str = "") -> _Rendered | None: ...


class Encoder:
    """Turns prompt and completion into token ids, the same way for training and inference."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        kind: Literal["causal", "seq2seq"] = "causal",
        chat_template: Literal["auto", "none"] = "auto",
        system: str | None = None,
        max_length: int = 1024,
        prefix_ids: tuple[int, ...] = (),
    ) -> None:
        self.tokenizer, self.kind, self.system, self.max_length = (
            tokenizer,
            kind,
            system,
            max_length,
        )
        self.prefix_ids = prefix_ids
        self.chat = chat_template == "auto" and bool(tokenizer.chat_template) and kind == "causal"
        if system is not None and not self.chat:
            raise InputError("data.system: this model has no chat template to put it into.")
        self._before, self._end = self._completion_frame()

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion at inference: what training put at its end, and EOS."""
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([self._end[-1], *([eos] if eos is not None else [])]))

    @property
    def digest(self) -> str:
        """Identifies the framing: two encoders with one digest write the same tokens.

        Taken from the chat template's source, not from what it renders, which may hold the date.
        """
        template = repr(self.tokenizer.chat_template) if self.chat else self.prompt_text("?")
        ids = self.tokenizer("Is it so?")["input_ids"]
        parts = [self.kind, template, self.system or "", self._before, repr(self._end), repr(ids)]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    def with_prefix(self, prefix_ids: tuple[int, ...]) -> Encoder:
        """The same encoder for a method whose documents begin with these ids."""
        if prefix_ids == self.prefix_ids:
            return self
        return Encoder(
            self.tokenizer,
            kind=self.kind,
            chat_template="auto" if self.chat else "none",
            system=self.system,
            max_length=self.max_length,
            prefix_ids=prefix_ids,
        )

    def prompt_text(self, prompt: str) -> str:
        """The text the model reads before it writes, control tokens included."""
        if not self.chat:
            return prompt if self.kind == "seq2seq" or prompt.endswith("\n") else prompt + "\n"
        return self.chat_text([{"role": "user", "content": prompt}])

    def chat_text(self, messages: list[dict[str, str]]) -> str:
        """A conversation up to where the assistant is to answer; its own system message wins."""
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        return self._apply(messages, generate=True)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a prompt at inference: those that training put before a completion."""
        return self.encode_text(self.prompt_text(prompt))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a framed prompt. A chat template brings its own beginning-of-text token."""
        ids = self.tokenizer(text, add_special_tokens=not self.chat)["input_ids"]
        if self.kind == "causal" and not self.chat and ids and ids[-1] == self._eos():
            ids = ids[:-1]  # some tokenizers end every text; a prompt is not at its end
        return [*self.prefix_ids, *ids]

    def encode(self, prompt: str, completion: str) -> Encoded:
        """The ids of one document, however long. Raises InputError for an empty completion."""
        if not completion.strip():
            raise InputError("the completion is empty: there is nothing to learn.")
        text = self._before + completion
        learned = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], *self._end]
        return Encoded((*self.encode_prompt(prompt), *learned), len(learned))

    def fit(self, template: _Template, row: Mapping[str, Any], key: str = "") -> Encoded | None:
        """Render and encode a row within `max_length` tokens; None where the template says so.

        Too long a document loses the end of its longest source column: never the instruction, the
        completion or its end-of-turn token. Raises InputError when even an empty source is too
        long.
        """
        rendered = template.render(row, key)
        if rendered is None:
            return None
        full = self.encode(rendered.prompt, rendered.completion)
        if len(full.ids) <= self.max_length:
            return full
        room = self.max_length - full.learned
        prompt = self.fit_prompt(template, row, rendered.prompt, room, key)
        if prompt is None:
            raise InputError(
                f"{len(full.ids)} tokens, of which {full.learned} are the completion, do not fit "
                f"into train.max_length = {self.max_length}, even with the source text cut."
            )
        cut = self.encode(prompt, rendered.completion)
        return Encoded(cut.ids, cut.learned, len(full.ids) - len(cut.ids))

    def fit_prompt(
        self, template: _Template, row: Mapping[str, Any], prompt: str, room: int, key: str = ""
    ) -> str | None:
        """A row's prompt without so much of its longest source column that it takes `room` tokens.

        None where even an empty source is too long.
        """
        values = dict(row)
        column = self._longest_source(template, values)
        for attempt in range(_CUTS + 1):
            excess = len(self.encode_prompt(prompt)) - room
            if excess <= 0:
                return prompt
            if column is None or not values[column]:
                return None
            values[column] = self._shorten(values[column], excess * 2**attempt)
            shorter = template.render(values, key)
            if shorter is None:
                return None
            prompt = shorter.prompt
        return None

    def decode(self, ids: list[int]) -> str:
        """The text of a completion, without its end-of-turn token."""
        stops = set(self.stop_ids)
        kept = [i for i in ids if i not in stops]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def _shorten(self, text: str, excess: int) -> str:
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        keep = len(offsets) - excess
        # Where one character is several tokens, it goes as a whole: half of it would be all of it.
        while keep > 0 and offsets[keep - 1][1] > offsets[keep][0]:
            keep -= 1
        return text[: offsets[keep - 1][1]].rstrip() if keep > 0 else ""

    @staticmethod
    def _longest_source(template: _Template, row: Mapping[str, Any]) -> str | None:
        texts = [c for c in template.source_columns if isinstance(row.get(c), str)]
        return max(texts, key=lambda c: len(row[c]), default=None)

    def _completion_frame(self) -> tuple[str, tuple[int, ...]]:
        """What the chat template puts before a completion, and the ids that end the turn."""
        if not self.chat:
            return "", (self._eos(),)
        user = [{"role": "user", "content": "?"}]
        prompt = self._apply(user, generate=True)
        whole = self._apply([*user, {"role": "assistant", "content": _MARK}], generate=False)
        before, found, after = whole.removeprefix(prompt).partition(_MARK)
        if not whole.startswith(prompt) or not found:
            raise InputError(
                "the model's chat template rewrites the prompt once an answer follows it, so that "
                "training and inference would differ; set model.chat_template=none."
            )
        return before, self._end_of_turn(after)

    def _end_of_turn(self, after: str) -> tuple[int, ...]:
        ids = self.tokenizer(after, add_special_tokens=False)["input_ids"]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        for count, token in enumerate(ids, start=1):
            if token in special:
                return tuple(ids[:count])
        return (self._eos(),)

    def _eos(self) -> int:
        eos = self.tokenizer.eos_token_id
        if eos is None:
            raise InputError(
                "the model's tokenizer has no end-of-text token to learn to stop with."
            )
        return int(eos)

    def _apply(self, messages: list[dict[str, str]], *, generate: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generate
            )
        except TemplateError as error:
            roles = ", ".join(m["role"] for m in messages)
            raise InputError(
                f"the model's chat template refuses the roles {roles}: {error}; "
                "model.chat_template=none does without it."
            ) from None
        return str(text)
