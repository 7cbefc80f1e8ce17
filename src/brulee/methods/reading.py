"""The contents of a stored adapter or tuned model: its origin and a measure of every tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from brulee.errors import InputError
from brulee.methods.adapter_files import read_record
from brulee.methods.base import largest
from brulee.methods.checkpoint import Adapter, open_adapter
from brulee.methods.shelf import Stored, made_by
from brulee.methods.whole import check_weights
from brulee.models.base_files import base_digest
from brulee.models.whole_files import check_safetensors

# Methods that PEFT does not have are stored under our own types.
_OURS_ALONE = "BRULEE_"


@dataclass(frozen=True)
class TensorFacts:
    """One stored tensor: its Frobenius norm and its largest absolute value."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    norm: float
    largest: float


@dataclass(frozen=True)
class Inspected:
    """Everything known about what is stored, without its base.

    `peft` is PEFT's name for the method, None if PEFT cannot load it; `sealed` says whether a
    digest was recorded, which detects any changed bit.
    """

    stored: Stored
    label: str
    method: dict[str, Any]
    base: dict[str, str]
    peft: str | None
    sealed: bool
    config: dict[str, Any]
    record: dict[str, Any]
    tensors: tuple[TensorFacts, ...]

    @property
    def values(self) -> int:
        """How many values are stored."""
        return sum(torch.Size(tensor.shape).numel() for tensor in self.tensors)


def inspect(stored: Stored) -> Inspected:
    """Read everything, including the tensors. Raises InputError for any damage."""
    if stored.kind == "adapter":
        return _of_adapter(stored, open_adapter(stored.folder))
    record = read_record(stored.folder)
    check_weights(stored.folder, record, base_digest(str(stored.folder)))
    return Inspected(
        stored=stored,
        label=made_by(record),
        method=dict(record.get("method", {})),
        base=dict(record.get("base", {})),
        peft=None,
        sealed="weights_digest" in record,
        config={},
        record=record,
        tensors=tuple(_measured(_stream(stored.weights()))),
    )


def _of_adapter(stored: Stored, adapter: Adapter) -> Inspected:
    method, tensors = adapter.method(), adapter.tensors()
    kind = str(adapter.config.get("peft_type", "")).upper()
    named = {"name": method.name, **method.options()}
    base = {"source": adapter.base_name or "", **adapter.record.get("base", {})}
    return Inspected(
        stored=stored,
        label=adapter.label(),
        method=dict(adapter.record.get("method", named)),
        base=base,
        peft=None if kind.startswith(_OURS_ALONE) else kind,
        sealed="tensors_digest" in adapter.record,
        config=adapter.config,
        record=adapter.record,
        tensors=tuple(_measured(sorted(tensors.items()))),
    )


def _stream(files: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield one tensor at a time, as a whole model may not fit in memory.

    Raises InputError for one that is not finite.
    """
    for path in files:
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not math.isfinite(largest(tensor)):
                    raise InputError(f"{path}: tensor {name!r} holds NaN or infinite values.")
                yield name, tensor


def _measured(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[TensorFacts]:
    for name, tensor in tensors:
        norm = float(torch.linalg.vector_norm(tensor.float()))
        dtype = str(tensor.dtype).removeprefix("torch.")
        yield TensorFacts(name, tuple(tensor.shape), dtype, norm, largest(tensor))
