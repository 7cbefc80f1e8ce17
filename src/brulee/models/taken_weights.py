"""Linear layers whose weights a model also takes without calling the layers.

Mamba's kernels are given the weights of a mixer's inner maps, and Gemma 3n's AltUp clips those of
its coefficients in training. A packed weight would be read as if it were the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

_OF_MIXERS = ("x_proj", "dt_proj", "out_proj")
_OF_STREAMS = ("prediction_coefs", "correction_coefs")


def state_mixers(model: nn.Module) -> list[str]:
    """Paths of the mixers of Mamba's kind, found by the parameters of their state."""
    return [n for n, m in model.named_modules() if {"A_log", "D"} <= m._parameters.keys()]


def taken_weights(model: nn.Module) -> list[str]:
    """Paths of the linear layers whose weights are taken as they are stored."""
    mixers = [f"{path}.{name}" for path in state_mixers(model) for name in _OF_MIXERS]
    linears = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    return [path for path in (*mixers, *_of_streams(model)) if path in linears]


def _of_streams(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules():
        if module._modules.keys() >= {*_OF_STREAMS}:
            yield from (f"{path}.{name}" for name in _OF_STREAMS)
