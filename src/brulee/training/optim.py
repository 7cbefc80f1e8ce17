"""The optimisers.

An optimiser is one entry of OPTIMIZERS: a function of the groups' settings and the recipe's `train`
section that returns a `torch.optim.Optimizer`. It keeps tensors and numbers in `state[parameter]`,
which checkpoints save (checkpoint.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.optim import Optimizer

from brulee.errors import InputError, unknown
from brulee.methods.base import ParameterGroup
from brulee.models.quantising import need_bitsandbytes
from brulee.recipe import TrainSpec
from brulee.recipe.sections import WITHOUT
from brulee.training.adafactor import Adafactor
from brulee.training.lion import Lion
from brulee.training.muon import Muon

_EIGHT_BITS: Final = ("adamw8bit", "paged_adamw8bit")
_BETA2: Final = 0.999
_LIONS_BETA2: Final = 0.99  # Chen et al. 2023, where beta1 is AdamW's

Settings = list[dict[str, Any]]


def check_optimizer(spec: TrainSpec, on_gpu: bool) -> None:
    """Raise InputError if the optimiser of `spec` is unavailable or ignores a setting.

    bitsandbytes may be missing, or a GPU for paging, or the name may be unknown.
    """
    kind = spec.optimizer
    if kind not in OPTIMIZERS:
        raise unknown("optimizer", kind, tuple(OPTIMIZERS))
    if kind in _EIGHT_BITS:
        need_bitsandbytes(f"train.optimizer: {kind}")
    if kind == "paged_adamw8bit" and not on_gpu:
        valid = ", ".join(name for name in OPTIMIZERS if name != kind)
        raise InputError(
            f"train.optimizer: {kind} moves its state between a GPU and the CPU, and this training "
            f"is not on a GPU; valid here: {valid}."
        )
    defaults = TrainSpec.model_fields
    for key in WITHOUT.get(kind, ()):
        if getattr(spec, key) != defaults[key].default:
            raise InputError(
                f"train.{key}: {kind} has none; leave it out, or choose another train.optimizer."
            )


def optimizer_of(
    spec: TrainSpec,
    groups: Sequence[ParameterGroup],
    learning_rate: float,
    of_tokens: Sequence[nn.Parameter] = (),
) -> Optimizer:
    """The optimiser of `spec` for a method's groups, with weight decay for groups that want it.

    `of_tokens` move at `spec.embedding_learning_rate`, if it is set; their groups come last. Raises
    InputError as `check_optimizer` does.
    """
    check_optimizer(spec, all(p.is_cuda for group in groups for p in group.parameters))
    apart = {id(p) for p in of_tokens} if spec.embedding_learning_rate is not None else set()
    settings: Settings = []
    for own in (False, True):
        for group in groups:
            rate = spec.embedding_learning_rate if own else learning_rate * group.lr_scale
            found = [p for p in group.parameters if (id(p) in apart) == own]
            if found:
                settings.append(
                    {
                        "params": found,
                        "lr": rate,
                        "base_lr": rate,
                        "weight_decay": spec.weight_decay if group.decay else 0.0,
                        "maps": group.maps,
                    }
                )
    return OPTIMIZERS[spec.optimizer](settings, spec)


def _adamw(settings: Settings, spec: TrainSpec) -> Optimizer:
    """PyTorch's fused AdamW (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(settings, betas=_betas(spec), eps=spec.epsilon, fused=True)


def _adamw8bit(settings: Settings, spec: TrainSpec) -> Optimizer:
    """AdamW with 8-bit moments for large parameters.

    Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization".
    """
    from bitsandbytes.optim import AdamW8bit

    found: Optimizer = AdamW8bit(settings, betas=_betas(spec), eps=spec.epsilon)
    return found


def _paged_adamw8bit(settings: Settings, spec: TrainSpec) -> Optimizer:
    """The same, with moments paged out to CPU memory when the GPU's is full.

    Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs".
    """
    from bitsandbytes.optim import PagedAdamW8bit

    found: Optimizer = PagedAdamW8bit(settings, betas=_betas(spec), eps=spec.epsilon)
    return found


def _adafactor(settings: Settings, _: TrainSpec) -> Optimizer:
    return Adafactor(settings)


def _muon(settings: Settings, spec: TrainSpec) -> Optimizer:
    return Muon(settings, betas=_betas(spec), eps=spec.epsilon)


def _lion(settings: Settings, spec: TrainSpec) -> Optimizer:
    return Lion(settings, betas=_betas(spec, _LIONS_BETA2))


def _betas(spec: TrainSpec, beta2: float = _BETA2) -> tuple[float, float]:
    return spec.beta1, beta2 if spec.beta2 is None else spec.beta2


OPTIMIZERS: Final[dict[str, Callable[[Settings, TrainSpec], Optimizer]]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "paged_adamw8bit": _paged_adamw8bit,
    "adafactor": _adafactor,
    "muon": _muon,
    "lion": _lion,
}


def set_learning_rate(optimizer: Optimizer, share: float) -> float:
    """Set each group's rate to `share` of its full one; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"])
