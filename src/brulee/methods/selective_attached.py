"""A selective method on a model: parameters of the base itself, trained whole or in part."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached, ParameterGroup, check_tensors, freeze
from brulee.methods.selective_tuned import Owners, Sparse, Tuned, Whole
from brulee.methods.targets import map_names
from brulee.models.added_tokens import table_weights
from brulee.models.hooks import STAND_IN


class SelectiveAttached(Attached):
    """The parameters trained whole, and the positions trained in others.

    `settings` are written to the configuration. `base_values` is the digest of base values in the
    configuration of a stored adapter; tensors made on another base are refused.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        whole: Sequence[str],
        positions: Mapping[str, torch.Tensor],
        settings: Mapping[str, Any],
        base_values: str | None = None,
    ) -> None:
        self.model, self._settings, self._base_values = model, dict(settings), base_values
        self._maps, self._tables = map_names(model), table_weights(model)
        owners = _owners(model)
        self._thaw = freeze(model)
        self._tuned: list[Tuned] = []
        for name in whole:
            base = model.get_parameter(name)
            self._tuned.append(Whole(name, base, owners[id(base)]))
        for name, index_K in positions.items():
            base = model.get_parameter(name)
            self._tuned.append(Sparse(name, base, owners[id(base)], index_K))
        for tuned in self._tuned:
            module, leaf = tuned.owners[0]
            module.register_parameter(leaf + STAND_IN, tuned.parameter)
        self._hooks: list[RemovableHandle] = []
        self._on()

    @property
    def beside(self) -> bool:
        """Whether every parameter is trained whole; chosen values live in the base's memory."""
        return not any(isinstance(tuned, Sparse) for tuned in self._tuned)

    def replicated(self) -> list[nn.Parameter]:
        """What is trained, and what it stands in for."""
        return [p for tuned in self._tuned for p in (tuned.parameter, tuned.base)]

    def groups(self) -> list[ParameterGroup]:
        """Linear layers' matrices; other matrices and chosen values; vectors, without decay."""
        maps = [t for t in self._tuned if isinstance(t, Whole) and t.name in self._maps]
        vectors = [t for t in self._tuned if t.base.ndim < 2]
        others = [t for t in self._tuned if t.base.ndim >= 2 and t not in maps]
        groups = [
            ParameterGroup("maps", _parameters(maps), maps=True),
            ParameterGroup("others", _parameters(others)),
            ParameterGroup("vectors", _parameters(vectors), decay=False),
        ]
        return [group for group in groups if group.parameters]

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        """Also the chosen values of a mask."""
        return _parameters([t for t in self._tuned if t.name in self._tables])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Whole parameters by name; `name.indices` and `name.values` of masked ones."""
        stored = {k: v for tuned in self._tuned for k, v in tuned.stored().items()}
        return {
            k: (v.float() if v.is_floating_point() else v).cpu().contiguous()
            for k, v in stored.items()
        }

    def config(self) -> dict[str, Any]:
        """The options, what the tensors hold, and the digest of the values they replace."""
        seq2seq = self.model.config.is_encoder_decoder
        return {
            "peft_type": "BRULEE_SELECTIVE",
            "task_type": "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
            **self._settings,
            "whole": [t.name for t in self._tuned if isinstance(t, Whole)],
            "sparse": {t.name: len(t.index_K) for t in self._tuned if isinstance(t, Sparse)},
            "base_values": _digest(self._tuned),
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors; also raises InputError for those of another base."""
        check_tensors({k: v for t in self._tuned for k, v in t.stored().items()}, tensors)
        for tuned in self._tuned:
            if isinstance(tuned, Sparse):
                _check_positions(f"{tuned.name}.indices", tensors, tuned.base.numel())
        kept = {k: v.clone() for t in self._tuned for k, v in t.stored().items()}
        self._take(tensors)
        if self._base_values not in (None, _digest(self._tuned)):
            self._take(kept)
            raise InputError(
                "adapter: it was made for another base: the values it replaces "
                f"({self._tuned[0].name!r} and others) are not those of this model."
            )

    def merge(self) -> None:
        """Make the trained values the base's own, rounded once to its dtype."""
        for tuned in self._tuned:
            tuned.fold()
        self._leave()

    def detach(self) -> None:
        """Remove the trained values; writes only to memory that a mask had written to."""
        for tuned in self._tuned:
            tuned.off()
        self._leave()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base's own values inside the block."""
        for tuned in self._tuned:
            tuned.off()
        try:
            yield
        finally:
            for tuned in self._tuned:
                tuned.on()

    def _on(self) -> None:
        for tuned in self._tuned:
            tuned.on()
        if not any(tuned.is_written for tuned in self._tuned):
            return
        # The fused loss reads the head's weight without calling the head.
        for module in {id(m): m for m in (self.model, self.model.base_model)}.values():
            self._hooks.append(module.register_forward_pre_hook(self._refresh_hook))

    def refresh(self) -> None:
        """Write trained values that may have changed to where modules read them."""
        for tuned in self._tuned:
            tuned.refresh()

    def _refresh_hook(self, *_: Any) -> None:
        self.refresh()

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for tuned in self._tuned:
            tuned.take(tensors)

    def _leave(self) -> None:
        for tuned in self._tuned:
            module, leaf = tuned.owners[0]
            delattr(module, leaf + STAND_IN)
            tuned.close()
        for hook in self._hooks:
            hook.remove()
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self._tuned, self._hooks = [], []


def _owners(model: nn.Module) -> dict[int, Owners]:
    """Every module and name that holds each parameter: several for a tied one."""
    owners: dict[int, Owners] = defaultdict(list)
    for module in model.modules():
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners[id(parameter)].append((module, leaf))
    return owners


def _digest(tuned: Sequence[Tuned]) -> str:
    """SHA-256 of the base's values at the trained places; the same for fp32 and bf16 bases."""
    digest = hashlib.sha256()
    for one in sorted(tuned, key=lambda t: t.name):
        digest.update(one.name.encode())
        values = one.original().to(torch.bfloat16).cpu().contiguous()
        digest.update(values.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _check_positions(key: str, tensors: Mapping[str, torch.Tensor], size: int) -> None:
    index_K = tensors[key]
    whole = not index_K.is_floating_point() and index_K.dtype != torch.bool
    rising = whole and bool((index_K[1:] > index_K[:-1]).all())
    if not rising or int(index_K[0]) < 0 or int(index_K[-1]) >= size:
        raise InputError(
            f"adapter: tensor {key!r} must hold whole numbers from 0 to {size - 1} in rising order."
        )


def _parameters(tuned: Sequence[Tuned]) -> tuple[nn.Parameter, ...]:
    return tuple(one.parameter for one in tuned)
