"""Which modules of a model a method is put on, found by structure and not by model name."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from brulee.errors import InputError, nearest

KEYWORDS = ("all-linear", "attention", "mlp")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Every linear map of the model but its output head, by module path."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def select(model: PreTrainedModel, target: str | list[str]) -> dict[str, nn.Module]:
    """The linear modules that `target` names.

    `all-linear` is every one but the head; `attention` those inside an attention module; `mlp` the
    others; a list names them by the last part of their path (`q_proj`) or by the whole path.
    Raises InputError for a name that matches nothing, with the names there are.
    """
    modules = linear_modules(model)
    if target == "all-linear":
        return modules
    if target in ("attention", "mlp"):
        wanted = target == "attention"
        return {n: m for n, m in modules.items() if _in_attention(model, n) == wanted}
    names = [target] if isinstance(target, str) else target
    chosen: dict[str, nn.Module] = {}
    for wanted_name in names:
        found = {
            n: m for n, m in modules.items() if n == wanted_name or n.endswith(f".{wanted_name}")
        }
        if not found:
            raise _unknown_target(wanted_name, modules)
        chosen.update(found)
    return {n: m for n, m in modules.items() if n in chosen}


def leaf_names(model: PreTrainedModel, chosen: dict[str, nn.Module]) -> list[str]:
    """The shortest PEFT `target_modules` that selects exactly the chosen modules."""
    leaves = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    every = [n for n, _ in model.named_modules() if n.rsplit(".", 1)[-1] in leaves]
    return leaves if set(every) == set(chosen) else sorted(chosen)


def _in_attention(model: PreTrainedModel, name: str) -> bool:
    """Whether a module between this one and the model's top is an attention module."""
    parts = name.split(".")
    parents = (".".join(parts[:end]) for end in range(1, len(parts)))
    return any(_ATTENTION.search(type(model.get_submodule(p)).__name__) for p in parents)


def _unknown_target(name: str, modules: dict[str, nn.Module]) -> InputError:
    leaves = sorted({n.rsplit(".", 1)[-1] for n in modules})
    close = nearest(name, [*leaves, *KEYWORDS])
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(
        f"method.target: no linear module is called {name!r}; {hint}"
        f"Valid: {', '.join([*KEYWORDS, *leaves])}."
    )
