"""Checks of an adapter's files before their contents are used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from brulee.errors import InputError
from brulee.methods.base import largest
from brulee.models.whole_files import check_safetensors

_LONGEST_JSON = 16 * 2**20  # bytes; real files have a few thousand
_DTYPES = ("BF16", "F16", "F32", "F64", "I32", "I64")
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_SIZES = ("r", "num_virtual_tokens", "width")  # settings that are a dimension of some tensor
_SMALL = 4096  # too small to fill the memory; loading the tensors gives a better message
# Trained values are far smaller; a value with a flipped top exponent bit is far larger.
_HUGE = 1e8


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises InputError for a file that is too long, is not a JSON object, or contains NaN or
    infinity.
    """
    size = path.stat().st_size
    if size > _LONGEST_JSON:
        raise InputError(f"{path}: {size} bytes long; at most {_LONGEST_JSON} are read.")
    try:
        values = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_not_finite, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: a JSON object was expected.")
    return values


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file, on the CPU.

    Raises InputError for a file that is damaged or of another format, for a tensor of a dtype that
    adapters do not use, and for a name that is not a module path.
    """
    check_safetensors(path)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{path}: {name!r} names no module of a model: it may hold letters, digits, "
                    "'_' and '-', parted by single dots."
                )
            kind = file.get_slice(name).get_dtype()
            if kind not in _DTYPES:
                raise InputError(
                    f"{path}: tensor {name!r} is stored as {kind}; valid: {', '.join(_DTYPES)}."
                )
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def check_believable(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Look for damage in tensors without a recorded digest.

    Only a flip of the highest exponent bit is visible, as it makes a value huge or not finite;
    other flips give plausible values. Raises InputError naming the tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        value = largest(tensor)
        if not math.isfinite(value):
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinite values.")
        if value > _HUGE:
            raise InputError(
                f"{path}: tensor {name!r} holds a value of {value:.1e}, which no training gives: "
                "the file is damaged, or its training had failed."
            )


def check_sizes(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse a rank or number of tokens larger than any dimension of the stored tensors.

    This runs before anything is allocated: a rank of a billion would fill the memory. Raises
    InputError naming the setting.
    """
    longest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    sizes = {key: config[key] for key in _SIZES if isinstance(config.get(key), int)}
    ranks = config.get("rank_pattern")
    if isinstance(ranks, dict):
        sizes |= {f"rank_pattern {k!r}": v for k, v in ranks.items() if isinstance(v, int)}
    for key, size in sizes.items():
        if size > max(longest, _SMALL):
            raise InputError(
                f"{path}: {key} = {size}, but no stored tensor is longer than {longest}."
            )


def check_base_name(name: str, path: Path) -> None:
    """Refuse a base path with `..`.

    Its meaning would depend on the adapter's current location. Raises InputError.
    """
    if ".." in Path(name).parts:
        raise InputError(
            f"{path}: it names its base {name!r}; a path with '..' is not followed. "
            "Write the base's whole path there."
        )


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
