"""Which parameters of the base a selective method trains."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError, nearest
from brulee.methods.base import untrained
from brulee.methods.layer_choice import Last, layer_prefixes
from brulee.methods.stacks import is_norm
from brulee.methods.targets import PATTERN


def biases(model: PreTrainedModel) -> list[str]:
    """Every bias, including norms': BitFit (Ben Zaken et al. 2022, "BitFit").

    Raises InputError for a model without biases, naming the alternative.
    """
    names = [n for n in _trained(model) if n.endswith((".bias", "_bias"))]
    if not names:
        count = len(norms(model))
        closest = f"it has {count} norms: the closest choice is train=norms"
        instead = closest if count else "train=parameters takes any by name"
        raise InputError(f"method.train=bias: {type(model).__name__} has no biases; {instead}.")
    return names


def norms(model: PreTrainedModel) -> list[str]:
    """The gain of every norm, and its bias if it has one."""
    return _of_modules(model, (m for m in model.modules() if is_norm(m)))


def embeddings(model: PreTrainedModel) -> list[str]:
    """The token and position embeddings; a tied head changes with them."""
    width = model.get_input_embeddings().weight.shape[1]
    tables = (
        m for m in model.modules() if isinstance(m, nn.Embedding) and m.embedding_dim == width
    )
    return _of_modules(model, tables)


def in_layers(model: PreTrainedModel, wanted: Last | list[int] | None) -> list[str]:
    """Everything in the layers given by index from 0, or in the last N, of every stack.

    Raises InputError for a layer that the model lacks, or whose weights are quantised.
    """
    prefixes = layer_prefixes(model, wanted)
    names = [n for n in _trained(model) if n.startswith(prefixes)]
    return trainable(model, names, "method.train=layers")


def matching(model: PreTrainedModel, patterns: Iterable[str]) -> list[str]:
    """The parameters whose name, or its last dotted parts, matches one of the patterns.

    Patterns are shell globs: `*` (also matches dots), `?` and `[01]`; `q_proj.weight` matches that
    of every layer. `re:` starts a regular expression for the whole name. Raises InputError for a
    pattern that matches nothing, with the nearest names, for one that is none, and for one that
    matches a quantised weight.
    """
    names = _trained(model)
    chosen: set[str] = set()
    for pattern in patterns:
        found = {n for n in names if _fits(n, pattern)}
        if not found:
            raise _matches_nothing(pattern, names)
        chosen |= found
    return trainable(model, [n for n in names if n in chosen], "method.parameters")


def everything(model: PreTrainedModel) -> list[str]:
    """Every parameter that training can change. Raises InputError if some are quantised."""
    names = _trained(model)
    return trainable(model, names, "method.train=sparse without method.parameters")


def trainable(model: PreTrainedModel, names: list[str], asked: str) -> list[str]:
    """The names unchanged, if all of them can be trained.

    Raises InputError for the first quantised one: leaving it out would train something other than
    `asked`.
    """
    held = [n for n in names if not model.get_parameter(n).is_floating_point()]
    if held:
        raise InputError(
            f"{asked}: {held[0]!r} ({len(held)} in all) is quantised and has no values to train; "
            "choose norms, biases or embeddings only, or use lora or another adapter."
        )
    return names


def _trained(model: PreTrainedModel) -> list[str]:
    fixed = untrained(model)
    return [n for n, _ in model.named_parameters() if n not in fixed]


def _of_modules(model: PreTrainedModel, modules: Iterable[nn.Module]) -> list[str]:
    wanted = {id(p) for module in modules for p in module.parameters(recurse=False)}
    found = ((n, model.get_parameter(n)) for n in _trained(model))
    return [n for n, p in found if id(p) in wanted and p.is_floating_point()]


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith(PATTERN):
        try:
            return re.fullmatch(pattern.removeprefix(PATTERN), name) is not None
        except re.error as error:
            raise InputError(
                f"method.parameters: {pattern!r} is not a regular expression: {error}."
            ) from None
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*.{pattern}")


def _matches_nothing(pattern: str, names: list[str]) -> InputError:
    tails = {".".join(n.split(".")[-k:]) for n in names for k in range(1, n.count(".") + 2)}
    close = nearest(pattern, sorted(tails))
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"one is {names[0]!r}."
    return InputError(f"method.parameters: no parameter matches {pattern!r}; {hint}")
