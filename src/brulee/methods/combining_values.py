"""Several IA3, selective or full tunings combined value by value.

An IA3 scale l turns a weight W into l W, which adds (l - 1) W: its correction is l - 1. (PEFT sums
the scales themselves, which is the same if the weights sum to one; otherwise it scales what no
adapter meant to scale.) Selected parameters and whole models are tuned weights, so their
corrections are the differences from the base (task vectors; Ilharco et al. 2023).

Shapes: `K` chosen values of a parameter.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import left_out
from brulee.methods.checkpoint import attach_adapter, attach_to
from brulee.methods.combining_parts import AdapterPart, Made, Plan, Standing, check_holds
from brulee.methods.ia3 import IA3, IA3Options
from brulee.methods.kept import Tally, gram_of
from brulee.methods.peft_config import PREFIX
from brulee.methods.selective import Selective
from brulee.methods.selective_attached import SelectiveAttached
from brulee.methods.tying import untie
from brulee.models.loading import Base, load_base
from brulee.models.skeleton import load_skeleton
from brulee.progress import bar

_SCALE = ".ia3_l"
_INDICES, _VALUES = ".indices", ".values"


def combine_ia3(parts: Sequence[AdapterPart], plan: Plan, base: Standing) -> Made:
    """Combine IA3 adapters; only the base's configuration is read.

    Raises InputError for one that does not fit the base, and for a layer whose inputs are scaled by
    one adapter and whose outputs by another.
    """
    skeleton = load_skeleton(base.source, base.revision)
    every = [_stored(part) for part in parts]
    for part in parts:
        assert part.adapter is not None, "an IA3 is an adapter"
        attach_to(part.adapter, skeleton).detach()
    tally, tensors = Tally(len(parts)), {}
    names = list(dict.fromkeys(name for one in every for name in one))
    for name in names:
        places = [i for i, one in enumerate(every) if name in one]
        scales = [every[i][name] for i in places]
        if len({scale.shape for scale in scales}) > 1:
            raise InputError(
                f"{parts[places[0]].folder} and another scale {name.removesuffix(_SCALE)!r} on two "
                "sides, one its inputs and one its outputs: no one scale does both."
            )
        own = torch.stack([scale.float() - 1 for scale in scales])
        tensors[name] = (1 + _apply(own, places, plan, name)).to(_widest(scales))
        check_holds(name, tensors[name])
        tally.add(places, gram_of([tensors[name].float() - 1, *own]))
    shared = sum(all(name in one for one in every) for name in names)
    paths = {
        n.removeprefix(PREFIX).removesuffix(_SCALE): t.shape[0] == 1 for n, t in tensors.items()
    }
    options = IA3Options(
        attention=[path for path, inner in paths.items() if not inner],
        feedforward=[path for path, inner in paths.items() if inner],
    )
    attached = IA3(options).attach(skeleton)
    attached.load(tensors)
    config = attached.config()
    return Made(config, tensors, IA3.from_config(config).options(), tally, (shared, len(names)))


def combine_selective(parts: Sequence[AdapterPart], plan: Plan, base: Standing) -> Made:
    """Combine selectively tuned values, which needs the base's own values.

    Values that a part did not tune count as unchanged. Raises InputError for a part that does not
    fit the base.
    """
    loaded = base.load()
    every = [_stored(part) for part in parts]
    for part in parts:
        assert part.adapter is not None, "a selective tuning is an adapter"
        attach_adapter(part.adapter, loaded).detach()
    whole, sparse = _chosen(every)
    tally, tensors = Tally(len(parts)), {}
    names = [*whole, *sparse]
    for name in names:
        value = loaded.model.get_parameter(name).detach().reshape(-1)
        index_K = sparse.get(name)
        at_K = value if index_K is None else value[index_K]
        places = [i for i, one in enumerate(every) if _has(one, name)]
        own = torch.stack([_at(every[i], name, value, index_K) - at_K for i in places])
        made_K = at_K + _apply(own, places, plan, name)
        check_holds(name, made_K)
        tally.add(places, gram_of([made_K - at_K, *own]))
        if index_K is None:
            tensors[name] = made_K.view_as(loaded.model.get_parameter(name))
        else:
            tensors |= {f"{name}{_INDICES}": index_K, f"{name}{_VALUES}": made_K}
    shared = sum(all(_has(one, name) for one in every) for name in names)
    settings = _settings(parts, loaded, names, sparse)
    attached = SelectiveAttached(loaded.model, whole, sparse, settings)
    attached.load(tensors)
    config, kept = attached.config(), attached.tensors()
    attached.detach()
    options = Selective.from_config(config).options()
    return Made(config, kept, options, tally, (shared, len(names)))


@torch.no_grad()
def combine_full(parts: Sequence[AdapterPart], plan: Plan, base: Standing) -> tuple[Base, Tally]:
    """Combine whole models into their base in fp32; the parts are read one tensor at a time.

    Parts whose files name or divide tensors otherwise than the model does are loaded whole (Gemma 3
    as released, most mixtures of experts). The result has the dtype in which the parts are stored,
    rounded once, and weights that the base shares between modules are apart in it if they are in a
    part. Raises InputError for a part whose tensors do not match the base's, and for another base.
    """
    loaded = base.load()
    if loaded.digest != base.record["digest"]:
        raise InputError(
            f"{parts[0].folder}: made of a base with digest {base.record['digest'][:12]}..., but "
            f"{base.source!r} has {loaded.digest[:12]}...; name the right one with --base."
        )
    same_as = _shared_names(loaded.model)
    untie(loaded.model, _apart(parts, loaded.model, same_as))
    fixed, tally = left_out(loaded.model), Tally(len(parts))
    names = [n for n, _ in loaded.model.named_parameters() if n not in fixed]
    places = range(len(parts))
    with ExitStack() as stack, bar("Combining", total=len(names), unit="tensors") as progress:
        given_by = [_opened(part.folder, names, same_as, stack) for part in parts]
        for name in names:
            parameter = loaded.model.get_parameter(name)
            given = [one.take(name, parameter.shape) for one in given_by]
            own = torch.stack([tensor.float() - parameter for tensor in given])
            made = (parameter + _apply(own, places, plan, name)).to(_widest(given))
            tally.add(places, gram_of([made.float() - parameter, *own]))
            check_holds(name, made)
            parameter.data = made
            progress.advance()
    return loaded, tally


def _shared_names(model: PreTrainedModel) -> dict[str, str]:
    """The other names of weights that several modules share, each with the first name."""
    first: dict[int, str] = {}
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            found[name] = first[id(parameter)]
    return found


def _apart(
    parts: Sequence[AdapterPart], model: PreTrainedModel, same_as: Mapping[str, str]
) -> list[nn.Module]:
    """The modules whose weight the base shares with others, and a part has for itself."""
    if not same_as:
        return []
    own = [load_skeleton(str(part.folder)).named_parameters() for part in parts]
    names = {name for one in own for name, _ in one} & same_as.keys()
    return [model.get_submodule(name.rpartition(".")[0]) for name in names]


class _Files:
    """The tensors of a model's folder, read one at a time; `same_as` has their other names."""

    def __init__(self, folder: Path, same_as: Mapping[str, str], stack: ExitStack) -> None:
        self._folder, self._same_as = folder, same_as
        self.held: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = stack.enter_context(safe_open(path, framework="pt"))
            self.held |= dict.fromkeys(file.keys(), file)

    def take(self, name: str, shape: torch.Size) -> torch.Tensor:
        if name not in self.held:  # shared in this part
            name = self._same_as.get(name, name)
        if name not in self.held:
            raise InputError(f"{self._folder}: it has no tensor {name!r}, which its base has.")
        return _of_shape(self.held[name].get_tensor(name), shape, name, self._folder)


class _Loaded:
    """The tensors of a model's folder, under the names that the model has for them."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._folder = folder
        model = load_base(str(folder), dtype, torch.device("cpu")).model
        self._held = dict(model.named_parameters(remove_duplicate=False))

    def take(self, name: str, shape: torch.Size) -> torch.Tensor:
        if name not in self._held:
            raise InputError(f"{self._folder}: it has no tensor {name!r}, which its base has.")
        return _of_shape(self._held[name].detach(), shape, name, self._folder)


def _opened(
    folder: Path, names: Sequence[str], same_as: Mapping[str, str], stack: ExitStack
) -> _Files | _Loaded:
    files = _Files(folder, same_as, stack)
    if files.held.keys() >= set(names) or files.held.keys() <= set(names):
        return files
    dtypes = (file.get_tensor(name).dtype for name, file in files.held.items())
    return _Loaded(folder, functools.reduce(torch.promote_types, dtypes))


def _of_shape(tensor: torch.Tensor, shape: torch.Size, name: str, folder: Path) -> torch.Tensor:
    if tensor.shape != shape:
        raise InputError(
            f"{folder}: tensor {name!r} has shape {tuple(tensor.shape)}, its base's {tuple(shape)}."
        )
    return tensor


def _apply(own: torch.Tensor, places: Sequence[int], plan: Plan, name: str) -> torch.Tensor:
    weights = torch.tensor([plan.weights[i] for i in places])
    return plan.way.apply(own, weights, plan.settings(name))


def _stored(part: AdapterPart) -> dict[str, torch.Tensor]:
    assert part.adapter is not None, "what is stored whole is read a tensor at a time"
    return part.adapter.tensors()


def _widest(tensors: Sequence[torch.Tensor]) -> torch.dtype:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _chosen(
    every: Sequence[Mapping[str, torch.Tensor]],
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """The parameters that any part tuned whole; for others, the positions that any part tuned."""
    whole = list(dict.fromkeys(n for one in every for n in one if not _is_masked(one, n)))
    sparse: dict[str, torch.Tensor] = {}
    for one in every:
        for key in (k for k in one if k.endswith(_INDICES) and _is_masked(one, k)):
            name = key.removesuffix(_INDICES)
            if name not in whole:
                found = [one[key].long(), *([sparse[name]] if name in sparse else [])]
                sparse[name] = torch.unique(torch.cat(found))
    return whole, sparse


def _is_masked(one: Mapping[str, torch.Tensor], key: str) -> bool:
    """Whether a key is one of the two of a masked parameter."""
    stem = key.removesuffix(_INDICES).removesuffix(_VALUES)
    return stem != key and f"{stem}{_INDICES}" in one and f"{stem}{_VALUES}" in one


def _has(one: Mapping[str, torch.Tensor], name: str) -> bool:
    return name in one or f"{name}{_INDICES}" in one


def _at(
    one: Mapping[str, torch.Tensor], name: str, value: torch.Tensor, index_K: torch.Tensor | None
) -> torch.Tensor:
    """A part's values of a parameter (all, or at `index_K`), the base's where it has none."""
    if name in one:
        return one[name].float().reshape(-1)
    tuned = value.clone()
    tuned[one[f"{name}{_INDICES}"].long()] = one[f"{name}{_VALUES}"].float()
    return tuned if index_K is None else tuned[index_K]


def _settings(
    parts: Sequence[AdapterPart],
    base: Base,
    names: Sequence[str],
    sparse: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    """The parts' options if they are equal, else the parameters by name."""
    options = [part.adapter.method().options() for part in parts if part.adapter is not None]
    alike = [
        {k: v for k, v in each.items() if k not in ("density", "documents")} for each in options
    ]
    if any(each != alike[0] for each in alike):
        return {"train": "parameters", "parameters": sorted(names)}
    if "density" not in options[0]:
        return options[0]
    held = sum(base.model.get_parameter(name).numel() for name in names)
    return {**options[0], "density": sum(map(len, sparse.values())) / held}
