"""Checkpoints of a run: whole or not there, and enough to go on bit for bit.

    checkpoints/step-12/
      weights.safetensors     the trained parameters, in their own dtype
      optimizer.safetensors   AdamW's moments and step counts, the random state
      state.json              the step, and the digest of both files

A checkpoint is written under a temporary name and renamed; `state.json` seals it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from brulee.models.bundled import sha256
from brulee.models.disk import disk_errors

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
) -> Path:
    """Write checkpoint `step-N`, then drop all but the newest `keep`.

    Raises OSError when the disk is full or read-only; older checkpoints are then untouched.
    """
    final = root / f"step-{step}"
    aside = root / f".step-{step}.tmp"
    for left_over in root.glob(".step-*.tmp"):
        shutil.rmtree(left_over)
    aside.mkdir(parents=True)
    try:
        _write(aside / "weights.safetensors", {str(i): p.data for i, p in enumerate(parameters)})
        _write(aside / "optimizer.safetensors", _moments(parameters, optimizer))
        digests = {file.name: sha256(file) for file in sorted(aside.glob("*.safetensors"))}
        sealed = {**state, "step": step, "sha256": digests}
        (aside / "state.json").write_text(json.dumps(sealed, indent=2))
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    # Those past this step are torn, or training would have gone on from them.
    kept = [folder for folder in _folders(root) if _step(folder) <= step][:keep]
    for folder in _folders(root):
        if folder not in kept:
            shutil.rmtree(folder)
    return final


def newest(root: Path) -> Checkpoint | None:
    """The newest whole checkpoint; torn ones are passed over."""
    for folder in _folders(root):
        seal = folder / "state.json"
        try:
            state = json.loads(seal.read_text())
            whole = all(sha256(folder / n) == d for n, d in state["sha256"].items())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
        if whole:
            return Checkpoint(folder, state["step"], state)
    return None


def restore(
    checkpoint: Checkpoint,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Put weights, moments and the random state back."""
    weights = load_file(checkpoint.folder / "weights.safetensors")
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(weights[str(i)])
    moments = load_file(checkpoint.folder / "optimizer.safetensors")
    torch.set_rng_state(moments.pop("rng"))
    if "cuda_rng" in moments:
        torch.cuda.set_rng_state(moments.pop("cuda_rng"))
    for i, parameter in enumerate(parameters):
        names = [key.split("/", 1)[1] for key in moments if key.startswith(f"{i}/")]
        device = parameter.device
        optimizer.state[parameter] = {name: moments[f"{i}/{name}"].to(device) for name in names}


def _moments(
    parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    tensors = {"rng": torch.get_rng_state()}
    if parameters and parameters[0].is_cuda:
        tensors["cuda_rng"] = torch.cuda.get_rng_state()
    for i, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{i}/{name}"] = value
    return tensors


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with disk_errors(path):
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)


def _folders(root: Path) -> list[Path]:
    """The checkpoints' folders, newest first."""
    found = [folder for folder in root.glob("step-*") if _STEP.fullmatch(folder.name)]
    return sorted(found, key=_step, reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
