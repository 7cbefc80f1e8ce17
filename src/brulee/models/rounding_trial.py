"""Whether a pass differs from the model's own by no more than rounding explains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import nn

_ROUNDED: Final = 0.05  # error of a pass in bf16 that needs no further explanation
_LOGITS: Final = 1e-3  # error of logits in fp32
_SHAKEN: Final = 5  # times the change by one rounding of each layer, in which there are several
# Error of logits that nothing explains: rounding may send tokens to other experts, whose logits say
# no more of a pass than those of another model.
_UNEXPLAINED: Final = 0.25


def only_round(errors: list[float], dtype: torch.dtype, shaken: Callable[[], list[float]]) -> bool:
    """Whether errors are no larger than rounding in `dtype` explains.

    In fp32 the maximum counts, in bfloat16 the median: a correct pass is off by 0.02 to 0.09 of the
    hidden states' norm, depending on the pair (30 layers of SmolLM2). Deep models, and such whose
    weights are random, are off by more. How much is explained by `shaken`: relative changes of the
    model's own results if every layer's output is rounded once more. A correct pass has 0.5 to 1.7
    times these in ten families, 4 times in Qwen 3.5. A twin in fp32 shows whether a form is right.
    """
    if any(map(math.isnan, errors)):  # which a maximum or a median may pass over
        return False
    if dtype == torch.float32:  # of the products, not of the model: trained weights may be wider
        return max(errors) <= 1e-4
    error = statistics.median(errors)
    return error <= _ROUNDED or error <= _SHAKEN * statistics.median(shaken())


def logits_only_round(
    found: torch.Tensor,
    expected: torch.Tensor,
    model: nn.Module,
    run: Callable[[], torch.Tensor],
    dtype: torch.dtype,
    most: float = _UNEXPLAINED,
) -> bool:
    """Whether logits differ from those that `run` computes by no more than rounding in `dtype`.

    By the largest difference, over the largest logit: 0.001 in fp32; in bfloat16 0.05, or what
    `roughened` layers explain, as for hidden states, but no more than `most`.
    """
    exact = expected.float()
    largest = float(exact.abs().max())  # of a head of zeros, zero

    def off(logits: torch.Tensor) -> float:
        return float((logits.float() - exact).abs().max())

    if dtype == torch.float32:
        return off(found) <= _LOGITS * largest
    if off(found) <= _ROUNDED * largest:
        return True
    if off(found) > most * largest:
        return False
    return off(found) <= _SHAKEN * off(roughened(blocks_of(model), run))


def coarsest(model: nn.Module, logits: torch.Tensor) -> torch.dtype:
    """The dtype that rounds logits most: some models in bfloat16 give theirs in fp32 (Mamba)."""
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()} | {logits.dtype}
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The layers of all stacks of a model: what its outermost lists of modules contain."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inside = {id(m) for found in lists for layer in found for m in layer.modules()}
    return [layer for found in lists if id(found) not in inside for layer in found]


@torch.no_grad()
def changed_by_rounding(layers: Iterable[nn.Module], run: Callable[[], torch.Tensor]) -> float:
    """The relative change of what `run` computes if the layers' outputs are rounded."""
    exact = run()
    return float((roughened(layers, run) - exact).norm() / exact.norm())


@torch.no_grad()
def roughened(layers: Iterable[nn.Module], run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `run` computes if the outputs of layers are rounded to bfloat16, once more.

    At random: by noise of its precision, with 2^-8 of each value as standard deviation.
    """
    draw = torch.Generator().manual_seed(0)

    def round_off(_: nn.Module, __: Any, given: Any) -> Any:
        x = given[0] if isinstance(given, tuple) else given
        if not isinstance(x, torch.Tensor):
            return given
        noise = torch.randn(x.shape, generator=draw).to(x.device)
        rough = (x * (1 + torch.finfo(torch.bfloat16).eps / 2 * noise)).to(x.dtype)
        return (rough, *given[1:]) if isinstance(given, tuple) else rough

    hooks = [layer.register_forward_hook(round_off) for layer in layers]
    try:
        return run()
    finally:
        for hook in hooks:
            hook.remove()
