"""How fast this machine multiplies matrices, and how many operations training takes.

A training step is compared with this rate: the time its matrix products alone would take.
"""

from __future__ import annotations

import re
import time

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.models.quantising import value_count

# Rows, inputs and outputs of the timed product: that of a small model's MLP over a few documents. A
# GPU computes that in less time than a launch takes, and gets a larger one.
_SMALL, _LARGE = (1024, 1536, 2304), (8192, 8192, 8192)
_TRIES, _FEWEST, _SECONDS = 30, 3, 1.0  # after _SECONDS, stop if _FEWEST tries are done
# A decoder's projections of the encoder's output to keys and values, in T5's family and BART's.
_ACROSS = re.compile(r"\b(EncDecAttention|encoder_attn|cross_attn)\.(k|v|k_proj|v_proj)(\.|$)")


def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of a matrix product in `dtype`, the best of up to 30 tries in 1 s."""
    rows, inputs, outputs = _LARGE if device.type == "cuda" else _SMALL
    # Random values, since a GPU is faster with constant ones.
    x = torch.randn(rows, inputs, dtype=dtype, device=device)
    weight = torch.randn(outputs, inputs, dtype=dtype, device=device)
    best, began = float("inf"), time.perf_counter()
    for done in range(_TRIES):
        if done >= _FEWEST and time.perf_counter() - began > _SECONDS:
            break
        _wait(device)
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    del x, weight
    if device.type == "cuda":
        torch.cuda.empty_cache()  # so that these buffers do not affect later measurements
    return 2 * rows * inputs * outputs / best


def training_operations(model: PreTrainedModel, tokens: int, learned: int) -> int:
    """Multiplications and additions of a forward and a backward pass over so many tokens.

    Each weight of a linear layer is used once in the forward pass, once for the gradient of its
    input, and once more if it is trained. The head and an encoder-decoder's decoder count `learned`
    tokens only, its encoder the other tokens. Products inside attention, and anything a method adds
    other than linear layers, are not counted.
    """
    head = model.get_output_embeddings()
    body, seen = 0, set()
    read = _readers(model)
    for name, module in model.named_modules():
        through = tokens
        if model.config.is_encoder_decoder:
            through = tokens - learned if read.search(name) else learned
        for parameter in _matrices(module):
            if parameter is not head.weight and id(parameter) not in seen:
                seen.add(id(parameter))
                body += through * _uses(parameter) * value_count(parameter)
    of_head = _uses(head.weight) * int(head.weight.numel())
    return 2 * (body + learned * of_head)


def _readers(model: PreTrainedModel) -> re.Pattern[str]:
    """A pattern for the modules of an encoder-decoder that process the prompt."""
    found = model.get_encoder() if model.config.is_encoder_decoder else None
    encoder = next((name for name, module in model.named_modules() if module is found), "")
    return re.compile(rf"^{re.escape(encoder)}\.|{_ACROSS.pattern}")


def _matrices(module: nn.Module) -> list[nn.Parameter]:
    own = [] if isinstance(module, nn.Embedding) else list(module.parameters(recurse=False))
    return [parameter for parameter in own if parameter.ndim == 2]


def _uses(parameter: torch.Tensor) -> int:
    return 3 if parameter.requires_grad else 2


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
