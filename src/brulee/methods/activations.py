"""Which linear layers compute keys and values, and which read the feed-forward's inner activation.

Detected by structure. In an attention module, by the layer's name (`k_proj`, `key`, `v`); failing
that, by having more outputs than inputs, as a fused layer for queries, keys and values has. In a
feed-forward, the last layer whose sizes are those of an earlier sibling reversed, or half of it if
that layer also computes the gate (Phi 3).
"""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from brulee.methods.linear import sizes
from brulee.methods.targets import in_attention, linear_modules

# A whole word of the name, where _ and . separate words: k, k_proj, to_k, key, key_proj ...
_KEY_OR_VALUE = re.compile(r"(^|_)(k|v|key|value|kv)(_|$)", re.IGNORECASE)


def key_value_maps(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The linear layers whose outputs are keys or values; a fused one's include queries."""
    found = {}
    for maps in _by_parent(model, attention=True).values():
        named = {n: m for n, m in maps.items() if _KEY_OR_VALUE.search(n.rsplit(".", 1)[-1])}
        found.update(named or {n: m for n, m in maps.items() if sizes(m)[0] > sizes(m)[1]})
    return found


def inner_activation_maps(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The linear layers whose input is a feed-forward's inner activation."""
    found = {}
    for maps in _by_parent(model, attention=False).values():
        listed = list(maps.items())
        for at in reversed(range(len(listed))):
            name, module = listed[at]
            if any(_leads_to(before, module) for _, before in listed[:at]):
                found[name] = module
                break
    return {n: m for n, m in model.named_modules() if n in found}


def _leads_to(before: nn.Module, last: nn.Module) -> bool:
    """Whether the output of `before`, or half of it if gated, fits the input of `last`."""
    (made, read), (outputs, inner) = sizes(before), sizes(last)
    return read == outputs and made in (inner, 2 * inner)


def _by_parent(model: PreTrainedModel, attention: bool) -> dict[str, dict[str, nn.Module]]:
    """Linear layers in the model's order, grouped by parent module."""
    grouped: dict[str, dict[str, nn.Module]] = {}
    for name, module in linear_modules(model).items():
        if in_attention(model, name) == attention:
            grouped.setdefault(name.rpartition(".")[0], {})[name] = module
    return grouped
