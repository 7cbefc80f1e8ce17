"""The parts of a combination, the base they share, and how prompts are framed for the result.

Everything here raises InputError for what cannot be combined, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brulee.errors import InputError
from brulee.methods.adapter_files import OURS, read_record, tensors_digest
from brulee.methods.base import largest
from brulee.methods.checkpoint import Adapter, check_there, open_adapter
from brulee.methods.kept import Tally
from brulee.methods.new_tokens import said_of, tokens_of
from brulee.methods.shelf import Stored, locate, made_by
from brulee.methods.ways import Settings, Way
from brulee.methods.whole import check_weights
from brulee.models import languages
from brulee.models.added_tokens import NewToken
from brulee.models.base_files import base_digest
from brulee.models.bundled import bundled_folder
from brulee.models.loading import Base, load_base
from brulee.models.rope_scaling import check_alike

_FRAMING = ("chat_template", "framing_digest", "system")
_REFUSED = {
    "bottleneck": "its small networks are not linear, so that no mean of their weights computes "
    "the mean of what they add",
    "prefix": "what it trained are keys and values to attend to, and no change of a weight",
    "prompt": "what it trained are vectors to attend to, and no change of a weight",
}


@dataclass(frozen=True)
class Plan:
    """How parts are combined; `rank` and `factors` only apply to LoRA."""

    how: str
    way: Way
    weights: tuple[float, ...]
    density: float
    seed: int
    rank: int | None
    factors: bool

    def settings(self, tensor: str) -> Settings:
        """The way's settings for one tensor."""
        return Settings(self.density, self.seed, tensor)


@dataclass(frozen=True)
class AdapterPart:
    """An adapter, or a fully tuned model, for which `adapter` is None."""

    name: str
    stored: Stored
    adapter: Adapter | None
    record: Mapping[str, Any]
    method: str
    label: str

    @property
    def folder(self) -> Path:
        """The folder with its files."""
        return self.stored.folder

    def digest(self) -> str:
        """The digest of its tensors, or of a whole model's files."""
        if self.adapter is not None:
            return tensors_digest(self.adapter.tensors())
        return str(self.record.get("weights_digest") or base_digest(str(self.folder)))


@dataclass(frozen=True)
class Standing:
    """The base that all parts share.

    `source` and `revision` say where to load it from, `record` is its entry in brulee.json,
    `config` its keys in adapter_config.json, `tokens` what whole models added to its vocabulary.
    """

    source: str
    revision: str | None
    record: dict[str, Any]
    config: dict[str, str]
    tokens: tuple[NewToken, ...] = ()

    def load(self) -> Base:
        """The base in fp32 on the CPU, with positions as in training."""
        scaling = self.record.get("rope_scaling")
        how = (torch.float32, torch.device("cpu"), self.revision)
        between = self.record.get("languages")
        return load_base(
            self.source, *how, rope_scaling=scaling, languages=between, tokens=self.tokens
        )


@dataclass(frozen=True)
class Made:
    """The files of a combined adapter, its options, and how much of each part it retains.

    `shared` counts the modules or parameters that all parts change, and those that any part
    changes.
    """

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    options: dict[str, Any]
    tally: Tally
    shared: tuple[int, int]


def open_part(target: str) -> AdapterPart:
    """A run, an adapter's folder, or a fully tuned model; InputError if it cannot be combined."""
    stored = locate(target)
    name = (stored.run() or stored.folder).resolve().name
    if stored.kind == "model":
        record = read_record(stored.folder)
        check_weights(stored.folder, record, base_digest(str(stored.folder)))
        return AdapterPart(name, stored, None, record, "full", made_by(record))
    adapter = open_adapter(stored.folder)
    method = adapter.method()
    if method.name in _REFUSED:
        raise InputError(
            f"{stored.folder}: {adapter.label()} cannot be combined: {_REFUSED[method.name]}."
        )
    if method.options().get("dora"):
        raise InputError(
            f"{stored.folder}: {adapter.label()} cannot be combined: DoRA gives each output a "
            "length of its own, so that what it adds depends on what is added beside it. Merge "
            "each into its base (brulee adapters merge) and combine the models."
        )
    if adapter.alongside():
        raise InputError(
            f"{stored.folder}: {adapter.label()} cannot be combined: it has rows of tokens, which "
            "mean something else beside each adapter. Merge each into its base (brulee adapters "
            "merge) and combine the models."
        )
    return AdapterPart(name, stored, adapter, adapter.record, method.name, adapter.label())


def check_same_method(parts: Sequence[AdapterPart]) -> None:
    """Refuse parts of different methods."""
    first = parts[0]
    for part in parts[1:]:
        if part.method != first.method:
            raise InputError(
                f"{first.folder} is of method {first.method} and {part.folder} of method "
                f"{part.method}: only adapters of one method can be combined. Merge each into its "
                "base (brulee adapters merge) and combine the models."
            )


def check_weights_of(weights: Sequence[float], parts: Sequence[AdapterPart]) -> None:
    """Refuse weights that are too many, too few, zero or not finite."""
    if len(weights) != len(parts):
        raise InputError(
            f"--weights: {len(weights)} given for {len(parts)} adapters; one for each is needed, "
            "in their order."
        )
    for weight, part in zip(weights, parts, strict=True):
        if not math.isfinite(weight) or weight == 0:
            raise InputError(
                f"--weights: {weight:g} for {part.folder}; valid: any number but 0 (leave out what "
                "is not wanted)."
            )


def check_holds(name: str, tensor: torch.Tensor) -> None:
    """Refuse a result whose dtype cannot represent its values."""
    if not math.isfinite(largest(tensor.detach())):
        raise InputError(
            f"--weights: the result's {name!r} would have values that {tensor.dtype}, which these "
            "are stored in, cannot hold; take smaller ones."
        )


def standing(parts: Sequence[AdapterPart], base: str | None) -> Standing:
    """The base that all parts share; `base` overrides its location.

    If a part has no recorded digest, it is computed from the base that the part names. Raises
    InputError if the bases differ.
    """
    first, given = parts[0], None if base is None else base_digest(base)
    known = [(part, _digest(part, base, given)) for part in parts]
    for part, digest in known[1:]:
        if digest != known[0][1]:
            raise InputError(
                f"{part.folder} was made for the base {_source(part)!r} with digest "
                f"{digest[:12]}..., but {first.folder} for {_source(first)!r} with "
                f"{known[0][1][:12]}...: only adapters on the same base can be combined."
            )
        names = str(part.folder), str(first.folder)
        check_alike(_scaling(part), _scaling(first), *names)
        languages.check_alike(_languages(part), _languages(first), *names)
        if _quantised(part) != _quantised(first):
            raise InputError(
                f"{part.folder} was trained on a base held in {_quantised(part) or 'full'}, and "
                f"{first.folder} on one in {_quantised(first) or 'full'}: the result would fit "
                "only one of them."
            )
        _check_vocabulary(part, first)
    source, revision = _named(first, base)
    if source != "bundled" and Path(source).exists():
        source = str(Path(source).resolve())
    record = dict(first.record.get("base", {})) | {"source": source, "digest": known[0][1]}
    record.setdefault("name", Path(source).name)
    lies = str(bundled_folder()) if source == "bundled" else source
    pinned = {} if revision is None else {"revision": revision}
    if revision is None:
        record.pop("revision", None)
    config = {"base_model_name_or_path": lies, **pinned}
    return Standing(source, revision, {**record, **pinned}, config, _tokens(first))


def framing(parts: Sequence[AdapterPart]) -> tuple[dict[str, Any], str | None]:
    """How prompts are framed for the result: as for the first part that records it.

    Also returns a sentence for the user if another part differs.
    """
    saying = [part for part in parts if any(key in part.record for key in _FRAMING)]
    if not saying:
        return {}, None
    first = saying[0]
    frame = {key: first.record[key] for key in _FRAMING if key in first.record}
    # One part trained to reason is enough for the result to do so.
    thinking = [part.record["thoughts"] for part in saying if "thoughts" in part.record]
    frame |= {"thoughts": thinking[0]} if thinking else {}
    for part in saying[1:]:
        differ = [key for key in _FRAMING if part.record.get(key) != first.record.get(key)]
        if differ:
            what = "system text" if differ == ["system"] else "chat template or tokenizer"
            return frame, (
                f"{part.folder} was trained with another {what} than {first.folder}; the result "
                "uses the latter's."
            )
    return frame, None


def _digest(part: AdapterPart, base: str | None, given: str | None) -> str:
    """The digest of a part's base; it must equal `given`, if both are known."""
    kept = part.record.get("base", {}).get("digest")
    if kept is not None and given is not None and kept != given:
        raise InputError(
            f"{part.folder}: made for the base {_source(part)!r} with digest {kept[:12]}..., but "
            f"--base {base} has {given[:12]}..."
        )
    return str(kept or given or base_digest(*_named(part, base)))


def _named(part: AdapterPart, base: str | None) -> tuple[str, str | None]:
    if part.adapter is not None:
        return part.adapter.named_base(base)
    recorded = part.record.get("base", {})
    source = base or recorded.get("source")
    if not source:
        raise InputError(f"{part.folder}: it names no base model; give one with --base.")
    if base is None:
        check_there(str(source), part.folder)
    return str(source), recorded.get("revision") if base in (None, recorded.get("source")) else None


def _source(part: AdapterPart) -> str:
    config = {} if part.adapter is None else part.adapter.config
    return str(part.record.get("base", {}).get("source") or config.get("base_model_name_or_path"))


def _quantised(part: AdapterPart) -> str | None:
    quantised: str | None = part.record.get("base", {}).get("quantised")
    return quantised


def _scaling(part: AdapterPart) -> dict[str, Any] | None:
    scaling: dict[str, Any] | None = part.record.get("base", {}).get("rope_scaling")
    return scaling


def _tokens(part: AdapterPart) -> tuple[NewToken, ...]:
    """What a whole model added to its base's vocabulary; an adapter with rows is no part."""
    if part.adapter is not None:
        return ()
    return tokens_of(part.record.get("added_tokens", []), part.folder / OURS)


def _check_vocabulary(part: AdapterPart, first: AdapterPart) -> None:
    own, others = ({t.text: t.id for t in _tokens(one)} for one in (part, first))
    if own != others:
        raise InputError(
            f"{part.folder} was trained with {said_of(own)}, and {first.folder} with "
            f"{said_of(others)}: only models of one vocabulary can be combined."
        )


def _languages(part: AdapterPart) -> dict[str, str] | None:
    between: dict[str, str] | None = part.record.get("base", {}).get("languages")
    return between
