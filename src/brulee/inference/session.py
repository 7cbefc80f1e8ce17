"""A loaded model, ready to generate: a base, an adapter on its base, or a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.data.encoding import Encoder
from brulee.data.json_schema import Schema
from brulee.data.thoughts import Thoughts
from brulee.errors import InputError
from brulee.inference.completion import Completion
from brulee.inference.engine import Engine
from brulee.inference.json_form import form_by
from brulee.inference.sampling import Choice, Sampling
from brulee.inference.thinking import Thinking, Told
from brulee.methods.adapter_files import CONFIG, read_record
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.soundness import read_json
from brulee.methods.whole import check_whole
from brulee.models.chat_templates import by_record, mode_of
from brulee.models.defaults import own_defaults
from brulee.models.generation_settings import own_stops
from brulee.models.languages import chosen
from brulee.models.loading import Base, load_base
from brulee.models.named import check_name
from brulee.models.precision import pick_device, pick_dtype
from brulee.progress import bar, waiting
from brulee.shell import word


@dataclass(frozen=True)
class Session:
    """A base, what is attached to it, and the engine that runs it.

    `record` is the adapter's or model's brulee.json, which says how it was made; {} without one.
    """

    base: Base
    attached: Attached | None = field(repr=False)
    encoder: Encoder = field(repr=False)
    engine: Engine = field(repr=False)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's tokenizer."""
        return self.base.tokenizer

    @property
    def model(self) -> PreTrainedModel:
        """The transformers model with the tuned weights, for use outside brulee.

        Raises InputError for soft prompts and prefixes, which are not part of it.
        """
        if self.attached is not None and (self.attached.prefix_ids or self.attached.reserved):
            raise InputError(
                "this adapter stands before every prompt and is not part of the model; use "
                "complete(), or load it with peft.PeftModel.from_pretrained."
            )
        return self.base.model

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        raw: bool = False,
        stop: Sequence[str] = (),
        beams: int = 1,
        places: Sequence[str] = (),
        json_schema: Schema | None = None,
        thoughts: bool = False,
        **choice: Unpack[Choice],
    ) -> list[str]:
        """A completion for each prompt; `raw` continues the text as it is, without a template.

        A text of `stop` ends a completion and is excluded. `beams` above 1 is the width of a beam
        search. `json_schema`, or the file of one, constrains every completion to valid JSON, unless
        `max_new_tokens` or `stop` cuts it off. `choice` has further settings of `Sampling`: top_k,
        min_p, repetition_penalty and others. A reasoning model's reasoning is left out unless
        `thoughts` is true. Raises InputError for a prompt that is empty or too long, named by its
        number or by `places` if given, and for a schema that cannot be enforced.
        """
        check_texts(prompts)
        named = places or [f"prompt {number}" for number in range(1, len(prompts) + 1)]
        form = form_by(self.tokenizer, json_schema)
        at_answer = form is not None
        ids = [
            self.encode(prompt, place, raw, at_answer)
            for prompt, place in zip(prompts, named, strict=True)
        ]
        usual = max_new_tokens, temperature, top_p, seed, tuple(stop), beams
        sampling = Sampling(*usual, form=form, **choice)
        with own_defaults(), bar("Generating", total=len(ids), unit="prompts") as progress:
            written = self.engine.complete(ids, sampling, lambda *_: progress.advance())
        whole = raw or at_answer or thoughts
        return [one.text.strip() if whole else self.answer(one, sampling) for one in written]

    def answer(self, written: Completion, sampling: Sampling) -> str:
        """The answer in a completion, without the reasoning before it."""
        tags = self.encoder.thoughts
        if tags is None:
            return written.text.strip()
        if sampling.stop:  # excluded from the text, but not from the ids
            return tags.divided(written.text)[1]
        return self.encoder.parted(list(written.ids))[1]

    def encode(
        self, prompt: str, place: str, raw: bool = False, at_answer: bool = False
    ) -> list[int]:
        """The prompt's token ids; with `at_answer`, they end after a reasoning model's thinking.

        Raises InputError naming `place` for a prompt that is empty or too long.
        """
        if raw:
            ids = self.encoder.encode_raw(prompt)
        else:
            ids = self.encoder.encode_prompt(prompt)
            ids += self.encoder.unthinking if at_answer else []
        if not ids:
            raise InputError(f"{place} is empty: there is nothing to continue.")
        self.engine.check_prompt(ids, place)
        return ids

    def chat_stream(
        self,
        messages: list[dict[str, str]],
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        think: Callable[[str], object] | None = None,
        **choice: Unpack[Choice],
    ) -> Iterator[str]:
        """The next answer of a conversation, in pieces of text as they are generated.

        `think` is called with the pieces of a reasoning model's reasoning before it.
        """
        tags = self.encoder.thoughts
        sampling = Sampling(max_new_tokens, temperature, top_p, seed, **choice)
        pieces = self._pieces(messages, sampling)
        if tags is None:
            yield from pieces
            return
        thinking, whole = Thinking(tags), ""
        for piece in pieces:
            whole += piece
            yield from _told(thinking.piece(piece), think)
        yield from _told(thinking.ended(whole)[1], think)

    def _pieces(self, messages: list[dict[str, str]], sampling: Sampling) -> Iterator[str]:
        text = self._conversation(messages)
        _check_characters(text, "the chat")
        ids: list[int] = []
        shown = answer = ""
        for token in self.engine.stream(self.encoder.encode_text(text), sampling):
            ids.append(token)
            answer = text_of(self.encoder.tokenizer, ids, self.encoder.hidden_ids)
            # A character may span several tokens; it is held back until it is complete.
            if not answer.endswith("\ufffd") and len(answer) > len(shown):
                yield answer[len(shown) :]
                shown = answer
        if len(answer) > len(shown):
            yield answer[len(shown) :]

    def _conversation(self, messages: list[dict[str, str]]) -> str:
        if self.encoder.chat:
            return self.encoder.chat_text(messages)
        return self.encoder.prompt_text("\n".join(m["content"] for m in messages))


def _told(more: Told, think: Callable[[str], object] | None) -> Iterator[str]:
    """The new text of the answer, if any; new text of the reasoning goes to `think`."""
    if think is not None and more.thoughts:
        think(more.thoughts)
    if more.answer:
        yield more.answer


def check_texts(prompts: Sequence[str]) -> None:
    """Raise InputError for a string instead of a list, or for a prompt that is not a text."""
    if isinstance(prompts, str):
        raise InputError("prompts must be a list of texts, not one text; write [prompt].")
    for number, prompt in enumerate(prompts, start=1):
        if not isinstance(prompt, str):
            raise InputError(
                f"prompt {number} is {prompt!r}, of type {type(prompt).__name__}; "
                "it must be a text."
            )
        _check_characters(prompt, f"prompt {number}")


def _check_characters(text: str, what: str) -> None:
    """Raise InputError for what no tokenizer takes, such as an argument that is not in UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{what} contains a lone surrogate, which is not a character.")


@waiting("Loading the model")
def open_session(
    target: str | os.PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    base: str | None = None,
    languages: Mapping[str, str] | None = None,
) -> Session:
    """Load a run folder, an adapter folder, or a model (bundled, folder, .gguf, Hub id).

    `base` replaces the base model that an adapter names. A run that was computed in float32
    is loaded in float32, unless `precision` says otherwise, so that its answers are reproduced.
    `languages` are the source and target of a translation model, by default those of its files or
    of an adapter. Raises InputError for a target that is none of these, an adapter that does not
    belong to its base or has other languages, or a `base` for a target that is not an adapter.
    """
    check_target(target)
    where = pick_device(device)
    target, folder = os.fspath(target), Path(target)
    dtype = pick_dtype(asked_precision(precision, folder), where)
    tuned_whole = (folder / "model" / "config.json").is_file()
    if not tuned_whole and (folder / "adapter" / CONFIG).is_file():
        folder = folder / "adapter"
    if not tuned_whole and (folder / CONFIG).is_file():
        return _adapter_session(folder, where, dtype, base, languages)
    if base is not None:
        raise InputError(
            f"{target}: this is not an adapter, so it has no base to replace with {base!r}."
        )
    if tuned_whole:
        return _model_session(str(folder / "model"), where, dtype, languages)
    if (folder / "recipe.yaml").is_file():
        raise InputError(
            f"{target}: this run has no adapter yet; train it with: brulee resume {word(target)}"
        )
    return _model_session(target, where, dtype, languages)


def check_target(target: str | os.PathLike[str]) -> None:
    """Raise InputError for a target that is no name, or is neither here nor can be a Hub id."""
    if not isinstance(target, str | os.PathLike):
        raise InputError(
            f"a target is the name or the folder of a model, an adapter or a run, not an object of "
            f"type {type(target).__name__}."
        )
    check_name(os.fspath(target))


def asked_precision(precision: str, run: Path) -> str:
    """float32 for a run computed in it; bfloat16 is not carried over, as it may be slow here."""
    manifest = run / "manifest.json"
    if precision != "auto" or not manifest.is_file():
        return precision
    return "float32" if read_json(manifest).get("precision") == "float32" else precision


def open_engine(
    base: Base,
    encoder: Encoder,
    batch_tokens: int = 8192,
    attached: Attached | None = None,
    like: Engine | None = None,
) -> Engine:
    """An engine that stops where completions end (see `stop_ids`); `like` as in `Engine`."""
    reserved = attached.reserved if attached else 0

    decode = partial(text_of, base.tokenizer, hidden=encoder.hidden_ids)
    known = (base.pad_id, batch_tokens, reserved, decode, like)
    return Engine(base.model, stop_ids(base, encoder), *known)


def stop_ids(base: Base, encoder: Encoder) -> tuple[int, ...]:
    """The tokens that end a completion: the encoder's, then those of `generation_config.json`.

    Llama 3.1 ends some calls with <|eom_id|>, and GLM 4 with <|observation|>, which no framing of
    a chat shows. A configuration's default may be any token, so only tokens count that were added
    to the vocabulary, special or not, and none that the encoder writes within an answer.
    """
    tokenizer = base.tokenizer
    added = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    within = {*encoder.end_ids[:-1], *encoder.tag_ids}
    further = (i for i in own_stops(base.model) if i in added - within)
    return tuple(dict.fromkeys([*encoder.stop_ids, *further]))


def text_of(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], hidden: Set[int] | None = None
) -> str:
    """The exact text of tokens: some tokenizers would remove the space before a comma.

    Tokens of `hidden` are left out, by default all control tokens.
    """
    if hidden is not None:
        ids = [i for i in ids if i not in hidden]
    how = {"skip_special_tokens": hidden is None, "clean_up_tokenization_spaces": False}
    return str(tokenizer.decode(ids, **how))


def _model_session(
    name: str, device: torch.device, dtype: torch.dtype, languages: Mapping[str, str] | None
) -> Session:
    base, folder = load_base(name, dtype, device, languages=languages), Path(name)
    check_whole(folder, base)
    return session_of(base, None, read_record(folder), folder)


def _adapter_session(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    base_name: str | None,
    languages: Mapping[str, str] | None,
) -> Session:
    adapter = open_adapter(folder)
    name, revision = adapter.named_base(base_name)
    between = chosen(adapter.languages, languages, str(folder))
    loading = {**adapter.loading, "languages": between}
    base = load_base(name, dtype, device, revision, **loading)
    attached = attach_adapter(adapter, base)
    return session_of(base, attached, adapter.record, folder)


def session_of(
    base: Base,
    attached: Attached | None,
    record: Mapping[str, Any],
    folder: Path,
    like: Engine | None = None,
) -> Session:
    """A session that frames prompts as in training, by a brulee.json; `like` as in `Engine`.

    Raises InputError if the tokenizer does not frame them as it did in training.
    """
    template = record.get("chat_template")
    base = replace(base, tokenizer=by_record(base.tokenizer, template))
    encoder = Encoder(
        base.tokenizer,
        kind=base.kind,
        chat_template=mode_of(template),
        system=record.get("system"),
        prefix_ids=attached.prefix_ids if attached else (),
    )
    if record.get("framing_digest", encoder.digest) != encoder.digest:
        raise InputError(
            f"{folder}: trained with a different chat template or tokenizer than {base.name!r} "
            "has now, so its prompts would differ from training; restore the one it was trained "
            "with."
        )
    if tags := record.get("thoughts"):
        encoder = encoder.thinking(Thoughts(*tags))
    engine = open_engine(base, encoder, attached=attached, like=like)
    return Session(base, attached, encoder, engine, record)
