"""Checkpoints of a run: complete or absent, and sufficient to resume bit for bit.

    checkpoints/step-12/
      weights.safetensors     the trained parameters, in their own dtype
      optimizer.safetensors   the optimiser's moments and step counts, each process's random state
      state.json              the step, and the digests of both files

A checkpoint is written under a temporary name and renamed; `state.json` seals it. Its contents do
not depend on the number of processes, so that any number of them can resume.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from brulee.errors import InputError
from brulee.models.bundled import sha256
from brulee.models.disk import as_umask_says, disk_errors
from brulee.progress import note
from brulee.training.whole import cut_as
from brulee.training.world import ALONE, World

_STEP = re.compile(r"step-\d+")


@dataclass(frozen=True)
class Checkpoint:
    """A sealed checkpoint on disk."""

    folder: Path
    step: int
    state: dict[str, Any]


def save(
    root: Path,
    step: int,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
    world: World = ALONE,
    spared: int | None = None,
) -> None:
    """Write checkpoint `step-N`, then delete all but the newest `keep`, and that of step `spared`.

    All processes must call it; one writes. Raises OSError if the disk is full or read-only; older
    checkpoints then remain.
    """
    named = ((str(i), parameter.data) for i, parameter in enumerate(parameters))
    weights = whole(named, world)
    moments = whole(_moments(parameters, optimizer), world) | _random(parameters, world)
    if world.writes:
        _write_checkpoint(root, step, weights, moments, state)
        drop(root, step, keep, spared)
    world.wait()


def newest(root: Path, like: Mapping[str, Any] | None = None) -> Checkpoint | None:
    """The newest complete checkpoint; incomplete ones are skipped.

    Raises InputError for one whose state lacks keys of `like`, because another version wrote it,
    and for a file in the place of a checkpoint's folder.
    """
    for folder in _folders(root):
        if (found := _read(folder, like or {})) is not None:
            return found
    return None


def of_step(root: Path, step: int) -> Checkpoint | None:
    """The complete checkpoint of a step, if there is one. Raises InputError as `newest` does."""
    folder = root / f"step-{step}"
    return _read(folder, {}) if folder.exists() else None


def drop(root: Path, step: int, keep: int, spared: int | None = None) -> None:
    """Delete all but the newest `keep` checkpoints up to a step, and that of step `spared`."""
    # Later ones are incomplete, otherwise training would have resumed from them.
    kept = [folder for folder in _folders(root) if _step(folder) <= step][:keep]
    for folder in _folders(root):
        if folder not in kept and _step(folder) != spared:
            shutil.rmtree(folder)


def _read(folder: Path, like: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in a folder; None if it is incomplete."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: a file, where the folder of a checkpoint would be; move it elsewhere."
        )
    seal = folder / "state.json"
    try:
        state = json.loads(seal.read_text())
    except (FileNotFoundError, ValueError):
        return None
    _check_keys(seal, {"step": 0, "sha256": {}, **like}, state)
    whole = _whole(folder, state["sha256"])
    return Checkpoint(folder, state["step"], state) if whole else None


def _whole(folder: Path, digests: Mapping[str, str]) -> bool:
    try:
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except FileNotFoundError:
        return False


def _check_keys(seal: Path, like: Mapping[str, Any], state: Any, inside: str = "") -> None:
    for key, value in like.items():
        if not isinstance(state, dict) or key not in state:
            raise _other_version(seal, f"it has no {inside}{key}")
        if isinstance(value, dict):
            _check_keys(seal, value, state[key], f"{key}.")


def _other_version(file: Path, what: str) -> InputError:
    """The error for a checkpoint that is complete but not compatible."""
    return InputError(
        f"{file}: {what}; the checkpoint was written by another version of brulee or for another "
        "method. Continue with that version (manifest.json names it), or start over with --fresh."
    )


def restore(
    checkpoint: Checkpoint,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    world: World = ALONE,
) -> None:
    """Restore weights, moments and random state; notes a changed number of processes.

    Raises InputError if they do not match these parameters.
    """
    restore_weights(checkpoint, parameters)
    moments = load_file(checkpoint.folder / "optimizer.safetensors")
    _draw_on(moments, parameters, world)
    _tell_of_processes(checkpoint.step, sum(key.startswith("rng.") for key in moments), world.size)
    for i, parameter in enumerate(parameters):
        names = [key.split("/", 1)[1] for key in moments if key.startswith(f"{i}/")]
        found = {name: moments[f"{i}/{name}"] for name in names}
        optimizer.state[parameter] = {n: _held(x, parameter, optimizer) for n, x in found.items()}


@torch.no_grad()
def restore_weights(checkpoint: Checkpoint, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Restore only the weights.

    Raises InputError if they do not match these parameters.
    """
    file = checkpoint.folder / "weights.safetensors"
    weights = load_file(file)
    if len(weights) != len(parameters):
        raise _other_version(file, f"it holds {len(weights)} tensors and not {len(parameters)}")
    for i, parameter in enumerate(parameters):
        found = weights.get(str(i))
        if found is None or found.shape != parameter.shape:
            shape = "nothing" if found is None else f"a tensor of {tuple(found.shape)}"
            raise _other_version(file, f"under {i} it has {shape}, not {tuple(parameter.shape)}")
        parameter.copy_(_part(found, parameter))


def whole(
    tensors: Iterable[tuple[str, torch.Tensor]], world: World = ALONE
) -> dict[str, torch.Tensor]:
    """The unsharded tensors, on the CPU if they were sharded; {} in processes that do not write."""
    found = {}
    for name, tensor in tensors:
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if world.writes:
            found[name] = full
    return found


def _write_checkpoint(
    root: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    moments: Mapping[str, torch.Tensor],
    state: dict[str, Any],
) -> None:
    final = root / f"step-{step}"
    aside = root / f".step-{step}.tmp"
    for left_over in root.glob(".step-*.tmp"):
        shutil.rmtree(left_over)
    aside.mkdir(parents=True)
    try:
        _write(aside / "weights.safetensors", weights)
        _write(aside / "optimizer.safetensors", moments)
        as_umask_says(aside)
        digests = {file.name: sha256(file) for file in sorted(aside.glob("*.safetensors"))}
        sealed = {**state, "step": step, "sha256": digests}
        (aside / "state.json").write_text(json.dumps(sealed, indent=2))
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _held(
    stored: torch.Tensor, parameter: torch.nn.Parameter, optimizer: Any
) -> torch.Tensor | int:
    """What an optimiser held for a parameter.

    A whole number was one, of steps: as a tensor on a GPU, bitsandbytes would wait for it for every
    parameter in every step. Its paged moments are in memory that it allocates for them.
    """
    if stored.ndim == 0 and not stored.is_floating_point():
        return int(stored)
    if stored.shape == parameter.shape and getattr(optimizer, "is_paged", False):
        room: torch.Tensor = optimizer.get_state_buffer(parameter, dtype=stored.dtype)
        return room.copy_(stored)
    return _part(stored, parameter)


def _part(stored: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    """A stored tensor on its parameter's device, sharded like it if they have the same shape."""
    value = stored.to(parameter.device)
    return cut_as(parameter, value) if value.shape == parameter.shape else value


def _moments(
    parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, torch.Tensor]]:
    for i, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            # 8-bit optimisers keep the step as a plain number, and share one code table between
            # parameters.
            tensor = torch.as_tensor(value)
            yield f"{i}/{name}", tensor.clone() if name.startswith("qmap") else tensor


def _random(parameters: Sequence[torch.nn.Parameter], world: World) -> dict[str, torch.Tensor]:
    own = {"rng": torch.get_rng_state()}
    if parameters and parameters[0].is_cuda:
        # The training GPU's, which may not be the current one.
        own["cuda_rng"] = torch.cuda.get_rng_state(parameters[0].device)
    every = enumerate(world.gather(own))
    return {f"{kind}.{rank}": state for rank, held in every for kind, state in held.items()}


def _draw_on(
    moments: Mapping[str, torch.Tensor], parameters: Sequence[torch.nn.Parameter], world: World
) -> None:
    """Restore the random state; a process unknown to the checkpoint keeps its own."""
    if (held := moments.get(f"rng.{world.rank}")) is not None:
        torch.set_rng_state(held)
    if (held := moments.get(f"cuda_rng.{world.rank}")) is not None and parameters[0].is_cuda:
        torch.cuda.set_rng_state(held, parameters[0].device)


def _tell_of_processes(step: int, before: int, now: int) -> None:
    if before != now:
        by = "one process" if before == 1 else f"{before} processes"
        note(
            f"step {step} was reached by {by}, and {now} {'goes' if now == 1 else 'go'} on: every "
            "step keeps its documents, losses are the same up to rounding, but random draws "
            "(dropout, noise) differ."
        )


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    with disk_errors(path):
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)


def _folders(root: Path) -> list[Path]:
    """The checkpoints' folders, newest first."""
    found = [folder for folder in root.glob("step-*") if _STEP.fullmatch(folder.name)]
    return sorted(found, key=_step, reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
