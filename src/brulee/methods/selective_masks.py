"""Which values of each parameter a sparse method trains: the k with the highest score.

    magnitude   |w|
    fisher      sum of g^2 over the documents: the diagonal of the empirical Fisher information
                (Sung et al. 2021, "Training Neural Networks with Fixed Sparse Masks")
    sam         (sum of g)^2, the square of the gradient summed over all documents

SAM is the second-order approximation method of Fu et al. 2023, "On the Effectiveness of
Parameter-Efficient Fine-Tuning". With a diagonal Hessian h, training the parameters with the
largest |g_i^2 / h_i| lowers the second-order expansion of the loss the most. The authors' released
program assumes the same h everywhere (its estimates of h are experiments that its command does not
use): it adds up the gradients of many batches at the frozen weights and takes the largest absolute
sums within each tensor. We do the same, also for the other two scores.

Shapes: `K` chosen positions in a flattened parameter. Memory: the scores of all candidates in fp32,
and one gradient at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from brulee.errors import InputError


def count(size: int, density: float) -> int:
    """How many values of a parameter are chosen; rounded down, so possibly none of a small one."""
    return int(size * density)


def highest(score: torch.Tensor, wanted: int) -> torch.Tensor:
    """The positions of the highest scores, ascending, int64 on the CPU.

    Ties go to the lowest positions, so that a mask is the same on every device and in every run: in
    bf16, thousands of weights are equal.
    """
    flat = score.flatten()
    least = flat.topk(wanted).values[-1]
    above = (flat > least).nonzero().squeeze(1)
    equal = (flat == least).nonzero().squeeze(1)
    return torch.cat([above, equal[: wanted - len(above)]]).sort().values.cpu()


def magnitude_positions(model: nn.Module, names: Sequence[str], density: float) -> Positions:
    """The largest weights of each parameter."""
    with torch.no_grad():
        return {n: _chosen(model.get_parameter(n).abs(), density) for n in names}


def gradient_positions(
    model: nn.Module,
    names: Sequence[str],
    density: float,
    losses: Iterable[torch.Tensor],
    square_each: bool,
) -> Positions:
    """The values to which the losses are most sensitive, at the model's current weights.

    `losses` are scalars with a graph, one per document or batch, consumed one at a time.
    `square_each`: Fisher, else SAM. Leaves the model unchanged and without gradients. Raises
    InputError for a loss that is not finite, and if there is none.
    """
    scores = _gather(model, names, losses, square_each)
    return {
        n: _chosen(score if square_each else score.abs(), density) for n, score in scores.items()
    }


def _chosen(score: torch.Tensor, density: float) -> torch.Tensor:
    return highest(score, count(score.numel(), density))


def _gather(
    model: nn.Module, names: Sequence[str], losses: Iterable[torch.Tensor], square_each: bool
) -> dict[str, torch.Tensor]:
    before = {p: p.requires_grad for p in model.parameters()}
    training = model.training
    parameters = {n: model.get_parameter(n) for n in names}
    scores = {n: torch.zeros_like(p, dtype=torch.float32) for n, p in parameters.items()}
    model.requires_grad_(False)
    model.eval()  # dropout would add noise to the scores
    hooks: list[RemovableHandle] = []
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            # This method has no types in torch.
            register: Callable[..., RemovableHandle] = parameter.register_post_accumulate_grad_hook
            hooks.append(register(_adder(scores[name], square_each)))
        _backward_all(losses)
    finally:
        for handle in hooks:
            handle.remove()
        for parameter, had in before.items():
            parameter.requires_grad_(had)
        model.train(training)
    return scores


def _adder(score: torch.Tensor, square: bool) -> Callable[[torch.Tensor], None]:
    """A hook that adds a gradient to the scores as soon as it is complete, and frees it."""

    def add(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None, "called when there is a gradient"
        grad = parameter.grad.float()
        score.add_(grad * grad if square else grad)
        parameter.grad = None

    return add


def _backward_all(losses: Iterable[torch.Tensor]) -> None:
    number = 0
    for number, loss in enumerate(losses, 1):
        if not torch.isfinite(loss):
            raise InputError(f"choosing a mask: the loss of document {number} is {loss.item()}.")
        torch.autograd.backward(loss)
    if number == 0:
        raise InputError("choosing a mask: there is no document to take gradients from.")


Positions = dict[str, torch.Tensor]
