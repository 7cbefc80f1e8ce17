"""Adapters read from disk, and put on their base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods import METHODS, build_method, readers
from brulee.methods.adapter_files import (
    CONFIG,
    OURS,
    TOKENIZER,
    WEIGHTS,
    config_digest,
    read_record,
    tensors_digest,
)
from brulee.methods.alongside import Alongside, without
from brulee.methods.base import Attached, Method
from brulee.methods.elsewhere import tensors_of_text
from brulee.methods.new_tokens import check_vocabulary, tokens_of
from brulee.methods.soundness import (
    check_base_name,
    check_believable,
    check_sizes,
    read_json,
    read_tensors,
)
from brulee.models.added_tokens import NewToken
from brulee.models.loading import Base
from brulee.models.named import looks_like_path
from brulee.recipe import MethodSpec


@dataclass(frozen=True)
class Adapter:
    """A stored adapter, checked as far as possible without its base."""

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any]

    @property
    def base_name(self) -> str | None:
        """Where to load the base from: brulee.json's record, else PEFT's.

        Raises InputError for a path with `..`.
        """
        name = self._written
        own = self.record.get("base", {}).get("source")
        check_base_name(name, self.folder / (OURS if own else CONFIG))
        return name or None

    @property
    def _written(self) -> str:
        own = self.record.get("base", {}).get("source")
        return str(own or self.config.get("base_model_name_or_path") or "")

    @property
    def revision(self) -> str | None:
        """The revision of its base on the Hub; None for the newest."""
        revision = self.record.get("base", {}).get("revision") or self.config.get("revision")
        return None if revision is None else str(revision)

    @property
    def digest(self) -> str | None:
        """The digest of the base it was trained on; None if not recorded."""
        digest = self.record.get("base", {}).get("digest")
        return None if digest is None else str(digest)

    @property
    def quantised(self) -> str | None:
        """How its base was quantised during training; None if it was not."""
        quantised = self.record.get("base", {}).get("quantised")
        return None if quantised is None else str(quantised)

    @property
    def rope_scaling(self) -> dict[str, Any] | None:
        """How its base's rotary positions were scaled; None if as in its checkpoint."""
        scaling = self.record.get("base", {}).get("rope_scaling")
        return None if scaling is None else dict(scaling)

    @property
    def languages(self) -> dict[str, str] | None:
        """The languages it translates, source and target; None for those of its base's files."""
        found = self.record.get("base", {}).get("languages")
        return None if found is None else dict(found)

    def says_languages(self, given: Mapping[str, str] | None) -> bool:
        """Whether it has to translate as it was trained.

        One of another tool does not say how that was, and one that names no languages was trained
        between those of its base's files, unless others are `given` by the user.
        """
        return self.languages is not None or (bool(self.record) and given is None)

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `load_base` with which its base is as in training."""
        return {
            "quantise": self.quantised,
            "rope_scaling": self.rope_scaling,
            "languages": self.languages,
            "tokens": self.tokens,
        }

    def named_base(self, instead: str | None = None) -> tuple[str, str | None]:
        """Where to load its base from (or `instead`), and the revision on the Hub.

        Raises InputError if no base is named, and for a folder or file that no longer exists.
        """
        if instead is not None and instead != self._written:
            return instead, None  # the revision belongs to the original repository
        name = self.base_name
        if name is None:
            raise InputError(
                f"{self.folder / CONFIG}: it names no base model; give one with --base."
            )
        check_there(name, self.folder)
        return name, self.revision

    def method(self) -> Method:
        """The method that made it.

        Raises InputError for a method that cannot be read, and for a configuration that was edited
        after saving; only the base's name may change.
        """
        config = without(self.config)
        kind = str(config.get("peft_type", "")).upper()
        known = readers()
        if kind not in known:
            raise InputError(
                f"{self.folder / CONFIG}: peft_type {kind or None!r} cannot be read here; "
                f"valid: {', '.join(sorted(known))}."
            )
        with _naming(self.folder / CONFIG):
            method = known[kind].from_config(config)
        if self.record.get("config_digest", config_digest(self.config)) != config_digest(
            self.config
        ):
            raise InputError(
                f"{self.folder / CONFIG}: its settings are not those that were saved (digest "
                "differs); only its base's name may be changed."
            )
        return method

    def alongside(self) -> Alongside:
        """What was trained alongside the method. Raises InputError if that cannot be read."""
        with _naming(self.folder / CONFIG):
            return Alongside.of(self.config)

    @property
    def tokens(self) -> tuple[NewToken, ...]:
        """The tokens that were added to the vocabulary of its base, each with its id.

        As brulee.json records them; else those of the tokenizer beside it, as other tools store it,
        some of which the base may have. Raises InputError for a record of another form.
        """
        if self.record:
            return tokens_of(self.record.get("added_tokens", []), self.folder / OURS)
        path = self.folder / TOKENIZER
        if not self.alongside() or not path.is_file():
            return ()
        return tokens_of(read_json(path).get("added_tokens", []), path)

    def label(self) -> str:
        """A short name for the method as requested, if brulee.json records it.

        The stored form may differ: a PiSSA is stored as a LoRA of twice its rank. Raises InputError
        as `method` does.
        """
        return with_combined((self.asked() or self.method()).label(), self.record)

    def asked(self) -> Method | None:
        """The method as requested, if brulee.json records it; raises InputError as `method`."""
        asked = _as_asked(self.record.get("method"))
        return asked if asked is not None and asked.name == self.method().name else None

    def tensors(self) -> dict[str, torch.Tensor]:
        """The stored tensors, on the CPU.

        Raises InputError for damage. If brulee.json has their digest, any change is detected;
        otherwise only what the file itself shows, and values that training cannot produce.
        """
        path = self.folder / WEIGHTS
        tensors = read_tensors(path)
        expected = self.record.get("tensors_digest")
        if expected is None:
            check_believable(tensors, path)
        elif expected != tensors_digest(tensors):
            raise InputError(
                f"{path}: its contents are not those that were saved (digest differs)."
            )
        return tensors


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's configuration.

    Raises InputError when a file is missing, malformed or of another kind.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an adapter folder: it has no {CONFIG}.")
    if (folder / WEIGHTS).is_dir():
        raise InputError(f"{folder / WEIGHTS}: a folder, where the file of tensors should be.")
    if not (folder / WEIGHTS).is_file():
        other = sorted(p.name for p in folder.glob("adapter_model.*"))
        hint = f" ({other[0]} is not read: only safetensors is)" if other else ""
        raise InputError(f"{folder}: it has no {WEIGHTS}{hint}.")
    record = read_record(folder)
    if record and not (record.get("tensors_digest") and "digest" in record.get("base", {})):
        raise InputError(
            f"{folder / OURS}: it lacks tensors_digest or its base's digest, which are needed to "
            "detect damage or a wrong base."
        )
    return Adapter(folder, read_json(folder / CONFIG), record)


def attach_adapter(adapter: Adapter, base: Base, method: Method | None = None) -> Attached:
    """Put a stored adapter on its base, as `attach_to` does.

    Raises InputError if it belongs to another base, or if a tensor is missing, unexpected, of the
    wrong shape or not finite. The base is then left unchanged.
    """
    check_made_on(adapter, base.name, base.digest)
    check_vocabulary(adapter.tokens, base, adapter.folder)
    if not base.holds:  # nor does this process need the adapter's values
        return adapter.alongside().attach(method or adapter.method(), base.model)
    return attach_to(adapter, base.model, method)


def attach_to(adapter: Adapter, model: PreTrainedModel, method: Method | None = None) -> Attached:
    """Put a stored adapter on a model that is known to be its base, or has its base's shapes.

    `method` stands for its own, to be trained further (`Method.continued`). Raises InputError for
    tensors as `attach_adapter` does. The model is then left unchanged.
    """
    method, tensors = method or adapter.method(), adapter.tensors()
    check_sizes(adapter.config, tensors, adapter.folder / CONFIG)
    device = next(model.parameters()).device
    alongside = adapter.alongside()
    with _naming(adapter.folder / CONFIG):
        attached = alongside.attach(method, model)
    try:
        of_text = tensors_of_text(model, tensors)
        attached.load({key: tensor.to(device) for key, tensor in of_text.items()})
    except InputError as error:
        attached.detach()
        raise InputError(f"{adapter.folder / WEIGHTS}: {error}") from None
    return attached


def check_there(name: str, folder: Path) -> None:
    """Refuse a local base that no longer exists; `folder` is the adapter that names it."""
    if name != "bundled" and looks_like_path(name) and not Path(name).exists():
        raise InputError(
            f"{folder}: its base {name!r} was not found; say where it is now with --base."
        )


def check_made_on(adapter: Adapter, name: str, digest: str) -> None:
    """Refuse a base other than the one the adapter was trained on, if its digest was recorded."""
    kept = adapter.digest
    if kept is not None and kept != digest:
        made_on = adapter.record["base"].get("source")
        raise InputError(
            f"{adapter.folder}: made for the base {made_on!r} with digest "
            f"{kept[:12]}..., but this base is {name!r} with {digest[:12]}..."
        )


def label_of(record: Mapping[str, Any]) -> str:
    """The label of the method that a brulee.json records; "" if it records none that is valid."""
    asked = _as_asked(record.get("method"))
    return "" if asked is None else with_combined(asked.label(), record)


def with_combined(label: str, record: Mapping[str, Any]) -> str:
    """The label; for a combination also how and of how many: "LoRA r16 (sum of 2)"."""
    combined = record.get("combined", {})
    how, of = combined.get("how"), combined.get("of")
    if not how or not isinstance(of, list):
        return label
    rough = ", by factors" if combined.get("factors") else ""
    return f"{label} ({how} of {len(of)}{rough})"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file's path to errors about its configuration."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{CONFIG}: ')}") from None


def _as_asked(record: Any) -> Method | None:
    """The method of a record, with its options validated; None if the record is invalid."""
    try:
        spec = MethodSpec.model_validate(record)
        options = METHODS[spec.name].Options.model_validate(spec.options())
        # Some options exclude each other, even at their default values.
        given = options.model_dump(exclude_defaults=True)
        return build_method(MethodSpec(name=spec.name, **given))
    except (InputError, KeyError, ValueError):
        return None
