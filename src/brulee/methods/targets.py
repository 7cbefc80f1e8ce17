"""Which modules of a model a method applies to, found by structure, not by model name."""

from __future__ import annotations

import re

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from brulee.errors import InputError, nearest
from brulee.methods.linear import sizes, weight_of
from brulee.models.experts import expert_modules, router_modules, stacks_of
from brulee.models.taken_weights import state_mixers
from brulee.models.text_part import text_modules

KEYWORDS = ("all-linear", "attention", "mlp")
EMBEDDINGS = "embeddings"
PATTERN = "re:"  # before a regular expression for the whole path
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Every linear layer that text passes through except the output head, by module path.

    Excludes routers of an architecture's own class that return more than a product (Phi-MoE).
    """
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in text_modules(model)
        if isinstance(module, nn.Linear | Conv1D) and module is not head and _maps(module, model)
    }


def map_names(model: PreTrainedModel) -> set[str]:
    """The names of all weight matrices of linear layers, including experts' but not the head's."""
    found = {f"{path}.weight" for path in linear_modules(model)}
    for path, module in expert_modules(model).items():
        found |= {f"{path}.{stack.name}" for stack in stacks_of(module)}
    return found


@torch.no_grad()
def _maps(module: nn.Module, model: PreTrainedModel) -> bool:
    """Whether a subclass of a linear layer returns what a linear layer does; it is tried.

    An architecture may derive its own class, and a router also selects (PhiMoE, Llama 4). Classes
    of quantised layers do not come from the architecture.
    """
    if type(module).__module__ != type(model).__module__:
        return True
    outputs, inputs = sizes(module)
    try:
        found = module(weight_of(module).new_zeros(1, inputs))
    except RuntimeError:  # grouped inputs (DeepSeek V4)
        return False
    return isinstance(found, torch.Tensor) and found.shape == (1, outputs)


def head_module(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The output head by its path, if it is a linear layer."""
    head = model.get_output_embeddings()
    return {n: m for n, m in model.named_modules() if m is head and isinstance(m, nn.Linear)}


def embedding_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Every embedding table that the model looks up in, by module path.

    Encoder-decoder models have an additional one that only shares its weight with those of encoder
    and decoder; it is never called.
    """
    tables = {n: m for n, m in text_modules(model) if isinstance(m, nn.Embedding)}
    shared = model.get_input_embeddings()
    doubles = [m for m in tables.values() if m is not shared and m.weight is shared.weight]
    return {n: m for n, m in tables.items() if not doubles or m is not shared}


def select(
    model: PreTrainedModel,
    target: str | list[str],
    vocabulary: bool = False,
    option: str = "target",
) -> dict[str, nn.Module]:
    """The modules that `target` names, in the model's order.

    `all-linear` selects every linear layer except the head, routers and the last one of Mamba's
    mixers, `attention` those inside an attention module, `mlp` the rest. Any other name is a whole
    path, or its last part (`q_proj`) or parts. `re:` starts a regular expression for the whole
    path, like a string in PEFT's target_modules. A list selects the union. With `vocabulary`, a
    name may also be an embedding or the head, and `embeddings` selects the token embeddings.
    `option` is the option's name in the recipe. Raises InputError for a name that matches nothing,
    listing the valid names.
    """
    modules = linear_modules(model)
    linears = set(modules)
    if vocabulary:
        modules |= embedding_modules(model) | head_module(model)
    chosen: set[str] = set()
    for wanted in [target] if isinstance(target, str) else target:
        found = _named(model, modules, linears, wanted, option)
        if not found:
            raise _unknown_target(model, wanted, modules, vocabulary, option)
        chosen |= found
    return {n: m for n, m in model.named_modules() if n in chosen}


def _named(
    model: PreTrainedModel,
    modules: dict[str, nn.Module],
    linears: set[str],
    wanted: str,
    option: str,
) -> set[str]:
    """The paths in `modules` selected by a keyword or name; `linears` are the linear layers."""
    if wanted in KEYWORDS:
        found = linears - router_modules(model).keys() - read_as_weights(model)
        if wanted == "all-linear":
            return found
        return {n for n in found if in_attention(model, n) == (wanted == "attention")}
    if wanted == EMBEDDINGS:
        tables = {n: m for n, m in modules.items() if isinstance(m, nn.Embedding)}
        tokens = model.get_input_embeddings().weight if tables else None
        return {n for n, m in tables.items() if m.weight is tokens}
    if wanted.startswith(PATTERN):
        return _matching(modules, wanted.removeprefix(PATTERN), option)
    return {n for n in modules if n == wanted or n.endswith(f".{wanted}")}


def read_as_weights(model: PreTrainedModel) -> set[str]:
    """Paths of the last maps of Mamba's mixers, whose weights kernels take without calling them.

    A correction would not be heard there in training, and PEFT loads none.
    """
    return {f"{path}.out_proj" for path in state_mixers(model)}


def _matching(modules: dict[str, nn.Module], pattern: str, option: str) -> set[str]:
    try:
        return {name for name in modules if re.fullmatch(pattern, name)}
    except re.error as error:
        raise InputError(
            f"method.{option}: {pattern!r} is not a regular expression: {error}."
        ) from None


def leaf_names(model: PreTrainedModel, chosen: dict[str, nn.Module]) -> list[str]:
    """The shortest PEFT `target_modules` that selects exactly the chosen modules."""
    leaves = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    every = [n for n, _ in model.named_modules() if n.rsplit(".", 1)[-1] in leaves]
    return leaves if set(every) == set(chosen) else sorted(chosen)


def in_attention(model: PreTrainedModel, name: str) -> bool:
    """Whether any ancestor of this module is an attention module."""
    parts = name.split(".")
    parents = (".".join(parts[:end]) for end in range(1, len(parts)))
    return any(_ATTENTION.search(type(model.get_submodule(p)).__name__) for p in parents)


def _unknown_target(
    model: PreTrainedModel,
    name: str,
    modules: dict[str, nn.Module],
    vocabulary: bool,
    option: str,
) -> InputError:
    kind = "linear module or embedding" if vocabulary else "linear module"
    if name.startswith(PATTERN):
        path = next(iter(modules), "model.layers.0.self_attn.q_proj")
        return InputError(
            f"method.{option}: the pattern {name!r} matches no {kind}; it must match a whole path, "
            f"such as {path!r}."
        )
    leaves, linears = sorted({n.rsplit(".", 1)[-1] for n in modules}), set(linear_modules(model))
    words = [*KEYWORDS, *([EMBEDDINGS] if vocabulary else [])]
    words = [word for word in words if _named(model, modules, linears, word, option)]
    if vocabulary:
        words += _of_experts(model)
    close = nearest(name, [*leaves, *words])
    hint = f"did you mean {close[0]!r}? " if close else ""
    valid = ", ".join([*words, *leaves])
    return InputError(f"method.{option}: no {kind} is called {name!r}; {hint}Valid: {valid}.")


def _of_experts(model: PreTrainedModel) -> list[str]:
    """Valid LoRA targets in a mixture of experts that are not linear layers."""
    found = expert_modules(model)
    if not found:
        return []
    weights = {stack.name for module in found.values() for stack in stacks_of(module)}
    return ["experts", "router", *(f"parameter:{name}" for name in sorted(weights))]
