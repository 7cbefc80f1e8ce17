"""One base in memory and many named adapters over it, whose requests are batched together."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from brulee.data.json_schema import Schema
from brulee.data.messages import Message
from brulee.data.thoughts import Thoughts
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError, unknown
from brulee.inference.asked_texts import AskedTexts, Variables
from brulee.inference.json_form import form_by
from brulee.inference.mixed import MixedEngine, Request
from brulee.inference.routing import Learned
from brulee.inference.sampling import Choice, Sampling
from brulee.inference.session import Session, asked_precision, check_texts, session_of
from brulee.methods.checkpoint import Adapter, open_adapter
from brulee.methods.new_tokens import shared_tokens
from brulee.methods.shelf import locate_adapter
from brulee.methods.swapping import AdapterView, Swap
from brulee.models import languages
from brulee.models.defaults import own_defaults
from brulee.models.loading import Base, load_base
from brulee.models.precision import pick_device, pick_dtype
from brulee.models.rope_scaling import check_alike
from brulee.progress import bar, waiting


@dataclass(frozen=True)
class PreparedAdapter:
    """An adapter in its own view, and what it does in a mixed pass, or why it cannot be mixed."""

    held: AdapterView
    learned: Learned | str


class Adapters:
    """Adapters over one base; a request names an adapter, or None for the base.

    A prompt is framed as in the adapter's training. An answer does not depend on the other
    requests: bitwise on a CPU in fp32, up to rounding for an encoder-decoder.
    """

    def __init__(
        self, base: Base, record: Mapping[str, Any] | None = None, given: bool = False
    ) -> None:
        """`record` is the brulee.json of a base that was fully fine-tuned; `given` as in `Swap`."""
        self.base = base
        self._swap = Swap(base, given)
        plain = session_of(base, None, record or {}, base.folder)
        self._sessions: dict[str | None, Session] = {None: plain}
        self.engine = MixedEngine(self._swap, plain.engine)

    @functools.cached_property
    def asked(self) -> AskedTexts:
        """The thread-safe tokenizer of requests."""
        return AskedTexts(self.base.tokenizer)

    @property
    def names(self) -> list[str]:
        """The adapters, in the order in which they were added."""
        return self._swap.names

    @property
    def apart(self) -> dict[str, str]:
        """The adapters that cannot share a pass with others, and why."""
        return dict(self.engine.apart)

    @property
    def tokens(self) -> int:
        """How many tokens the model has; ids are from 0 on."""
        return int(self.base.model.get_input_embeddings().weight.shape[0])

    def add(self, name: str, target: str | os.PathLike[str]) -> None:
        """Add an adapter: a run, or an adapter's folder.

        Raises InputError for a name that is taken, and for an adapter that is damaged, belongs to
        another base or was trained with another framing; the others are then unchanged.
        """
        folder = locate_adapter(os.fspath(target))
        with self.engine.turn:  # a mask passes through the base's memory
            self._swap.check_free(name)
            self.put(name, self._prepared(open_adapter(folder)))

    def prepare(self, target: str | os.PathLike[str]) -> PreparedAdapter | None:
        """Read and check an adapter, in a thread other than the computing one, one at a time.

        None if it, or an adapter already added, writes into the base's memory, which must not be
        read meanwhile: then the computing thread has to add it. Raises InputError as `add` does.
        """
        adapter = open_adapter(locate_adapter(os.fspath(target)))
        if not (self._swap.beside and adapter.method().beside()):
            return None
        return self._prepared(adapter)

    def put(self, name: str, prepared: PreparedAdapter) -> None:
        """Add a prepared adapter. Raises InputError as `add` does."""
        with self.engine.turn:
            self._swap.put(name, prepared.held)
            try:
                session = self._session_of(prepared.held)
            except InputError:
                self._swap.remove(name)
                raise
            self.engine.add(name, session.engine, prepared.learned)
            self._sessions[name] = session

    def _session_of(self, held: AdapterView) -> Session:
        record, folder = held.adapter.record, held.adapter.folder
        return session_of(held.base, held.attached, record, folder, self._sessions[None].engine)

    def _prepared(self, adapter: Adapter) -> PreparedAdapter:
        held = self._swap.made(adapter)
        return PreparedAdapter(held, self.engine.learn(held.base.model, held.attached))

    def remove(self, name: str) -> None:
        """Remove an adapter. Raises InputError for an unknown name."""
        self._of(name)
        with self.engine.turn:
            self.engine.remove(name)
            del self._sessions[name]
            self._swap.remove(name)

    def session(self, name: str | None) -> Session:
        """A session of one adapter, over the same base.

        Raises InputError for an unknown name, and for a sparse mask, whose values would have to be
        written into the base's memory, which the others read.
        """
        session = self._of(name)
        if session.attached is not None and not session.attached.beside:
            raise InputError(
                f"adapter {name!r} writes into its base's memory, which the others read; ask it "
                "with `complete`, or load it by itself."
            )
        return session

    def complete(
        self,
        prompts: Sequence[str],
        adapters: Sequence[str | None],
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
        """A completion of prompts[i] by adapters[i]; otherwise as `Session.complete`.

        Raises InputError as that does, for an unknown adapter, and for lists of different lengths.
        """
        check_texts(prompts)
        if isinstance(adapters, str) or len(prompts) != len(adapters):
            raise InputError(
                f"{len(prompts)} prompts need as many names of adapters, one each (None: the base)."
            )
        named = places or [f"prompt {number}" for number in range(1, len(prompts) + 1)]
        form = form_by(self.base.tokenizer, json_schema)
        at_answer = form is not None
        requests = [
            Request(name, self._of(name, place).encode(prompt, place, raw, at_answer))
            for prompt, name, place in zip(prompts, adapters, named, strict=True)
        ]
        usual = max_new_tokens, temperature, top_p, seed, tuple(stop), beams
        sampling = Sampling(*usual, form=form, **choice)
        with own_defaults(), bar("Generating", total=len(requests), unit="prompts") as progress:
            written = self.engine.complete(requests, sampling, lambda *_: progress.advance())
        whole = raw or at_answer or thoughts
        return [
            one.text.strip() if whole else self._of(name).answer(one, sampling)
            for one, name in zip(written, adapters, strict=True)
        ]

    def encode_chat(
        self,
        name: str | None,
        messages: Sequence[Message],
        tools: str = "",
        variables: Variables = None,
    ) -> list[int]:
        """Token ids of a chat up to the adapter's answer, of any length.

        Thread-safe. Raises InputError for a chat that cannot be framed, for an unknown adapter, and
        for variables that its template lacks.
        """
        return self.asked.chat(self._of(name).encoder, messages, tools, variables)

    def encode_text(self, name: str | None, text: str) -> list[int]:
        """Token ids of a text that an adapter is to continue as it is, of any length.

        Thread-safe, as `encode_chat`.
        """
        return self.asked.text(self._of(name).encoder, text)

    def encode_ids(self, name: str | None, ids: Sequence[int], place: str) -> list[int]:
        """The same for a text that is given as token ids. Raises InputError for one that is none.

        `place` names the text in the message.
        """
        encoder, known = self._of(name).encoder, self.tokens
        for at, token in enumerate(ids):
            if not 0 <= token < known:
                raise InputError(
                    f"{place}[{at}] = {token} is no token of this model, which has {known:,} "
                    "(ids from 0 on)."
                )
        return [*encoder.prefix_ids, *ids] if ids else []

    def trained_ids(self, name: str | None) -> int:
        """How many ids of an adapter's trained prompt every text begins with."""
        return len(self._of(name).encoder.prefix_ids)

    def written_calls(self, name: str | None) -> WrittenCalls | None:
        """The parser of tool calls in an adapter's output; None if its format is unknown."""
        return self.asked.written_calls(self._of(name).encoder)

    def thoughts(
        self, name: str | None, variables: Variables = None
    ) -> tuple[Thoughts | None, list[int]]:
        """The tags of an adapter's reasoning, and the ids that end reasoning begun by a prompt."""
        return self.asked.thoughts(self._of(name).encoder, variables)

    def _of(self, name: str | None, place: str = "") -> Session:
        if name not in self._sessions:
            raise unknown("adapter", str(name), self.names, place)
        return self._sessions[name]


@waiting("Loading the model")
def open_adapters(
    targets: Mapping[str, str | os.PathLike[str]],
    base: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    languages: Mapping[str, str] | None = None,
) -> Adapters:
    """Load the base of some adapters, once, and every adapter over it.

    `targets` maps the names used in requests to runs or adapters' folders; `base` replaces the base
    that they name. If one of the runs was computed in float32, all are loaded in float32, unless
    `precision` says otherwise. `languages` are the source and target of a translation model. Raises
    InputError naming an adapter that cannot be loaded: it has another base, another quantisation or
    scaling of it, other languages, or is damaged.
    """
    if not targets:
        raise InputError("no adapter is named; give at least one.")
    where = pick_device(device)
    dtype = pick_dtype(shared_precision(precision, targets.values()), where)
    found = {name: open_adapter(locate_adapter(os.fspath(t))) for name, t in targets.items()}
    loading = loading_for(found, languages)
    source, revision = next(iter(found.values())).named_base(base)
    held = Adapters(
        load_base(source, dtype, where, revision, **loading), given=languages is not None
    )
    for name, target in targets.items():
        held.add(name, target)
    return held


def shared_precision(precision: str, targets: Iterable[str | os.PathLike[str]]) -> str:
    """The precision of one base for all targets: float32 if one run was computed in it."""
    asked = {asked_precision(precision, Path(os.fspath(target))) for target in targets}
    return "float32" if "float32" in asked else precision


def loading_for(
    found: Mapping[str, Adapter], between: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """How the adapters' base is loaded, `between` two languages if they are given.

    Raises InputError if adapters disagree.
    """
    if not found:
        return {} if between is None else {"languages": between}
    first, *others = found
    for name in others:
        if found[name].quantised != found[first].quantised:
            bits = [f"{n!r} on one in {found[n].quantised or 'full'}" for n in (first, name)]
            raise InputError(
                f"these adapters were not trained on one base: {' and '.join(bits)} precision; "
                "load only adapters of one precision together."
            )
        one, other = found[first].rope_scaling, found[name].rope_scaling
        check_alike(one, other, f"adapter {first!r}", f"adapter {name!r}")
    tokens = shared_tokens({name: one.tokens for name, one in found.items()})
    return {**found[first].loading, "tokens": tokens, "languages": _between(found, between)}


def _between(
    found: Mapping[str, Adapter], given: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """The languages that are given, else those of the adapters that say theirs."""
    told = {name: one.languages for name, one in found.items() if one.says_languages(given)}
    if given is not None:
        for name, own in told.items():
            languages.chosen(own, given, f"adapter {name!r}")
        return given
    first = next(iter(told), "")
    for name, own in told.items():
        languages.check_alike(told[first], own, f"adapter {first!r}", f"adapter {name!r}")
    return told.get(first)
