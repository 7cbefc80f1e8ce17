"""Whether a pass differs from the model's own by no more than rounding explains."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import nn

_ROUNDED: Final = 0.05  # error of a pass in bf16 that needs no further explanation
_SHAKEN: Final = 5  # times the change by one rounding of each layer, in which there are several


def only_round(
    errors: list[float], dtype: torch.dtype, shaken: Callable[[], list[float]]
) -> bool:
    """Whether errors are no larger than rounding in `dtype` explains.

    In fp32 the maximum counts, in bfloat16 the median: a correct pass is off by 0.02 to 0.09 of the
    hidden states' norm, depending on the pair (30 layers of SmolLM2). Deep models, and such whose
    weights are random, are off by more. How much is explained by `shaken`: relative changes of the
    model's own results if every layer's output is rounded once more. A correct pass has 0.5 to 1.7
    times these in ten families, 4 times in Qwen 3.5. A twin in fp32 shows whether a form is right.
    """
    if dtype == torch.float32:  # of the products, not of the model: trained weights may be wider
        return max(errors) <= 1e-4
    error = statistics.median(errors)
    return error <= _ROUNDED or error <= _SHAKEN * statistics.median(shaken())


@torch.no_grad()
def changed_by_rounding(layers: Iterable[nn.Module], run: Callable[[], torch.Tensor]) -> float:
    """The relative change of what `run` computes if the layers' outputs are rounded to bfloat16.

    Rounded at random: noise of bf16's precision, 2^-8 of each value, as standard deviation.
    """
    draw = torch.Generator().manual_seed(0)

    def round_off(_: nn.Module, __: Any, given: Any) -> Any:
        x: torch.Tensor = given if isinstance(given, torch.Tensor) else given[0]
        noise = torch.randn(x.shape, generator=draw).to(x.device)
        rough = (x * (1 + torch.finfo(torch.bfloat16).eps / 2 * noise)).to(x.dtype)
        return rough if isinstance(given, torch.Tensor) else (rough, *given[1:])

    exact = run()
    hooks = [layer.register_forward_hook(round_off) for layer in layers]
    try:
        rough = run()
    finally:
        for hook in hooks:
            hook.remove()
    return float((rough - exact).norm() / exact.norm())
