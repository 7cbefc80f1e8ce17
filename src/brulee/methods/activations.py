"""Keys, values and the feed-forward's inner activation: which linear maps make and take them.

Told by structure: an attention module's linear maps by what their last name says of them (`k_proj`,
`key`, `v`), else by their outputs, which are more than their inputs where queries, keys and values
are one map; a feed-forward's last map by its sizes, which are those of an earlier map beside it
turned round, or of half of it where that map makes the gate too (Phi 3).
"""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from brulee.methods.linear import sizes
from brulee.methods.targets import in_attention, linear_modules

# A whole word of the name, of which _ and . part the words: k, k_proj, to_k, key, key_proj ...
_KEY_OR_VALUE = re.compile(r"(^|_)(k|v|key|value|kv)(_|$)", re.IGNORECASE)


def key_value_maps(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The linear maps whose outputs are keys or values; a fused map's are queries too."""
    found = {}
    for maps in _by_parent(model, attention=True).values():
        named = {n: m for n, m in maps.items() if _KEY_OR_VALUE.search(n.rsplit(".", 1)[-1])}
        found.update(named or {n: m for n, m in maps.items() if sizes(m)[0] > sizes(m)[1]})
    return found


def inner_activation_maps(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The linear maps whose inputs are a feed-forward's inner activation."""
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
    """Whether what one map makes, or half of it times the gate in the other half, fits another."""
    (made, read), (outputs, inner) = sizes(before), sizes(last)
    return read == outputs and made in (inner, 2 * inner)


def _by_parent(model: PreTrainedModel, attention: bool) -> dict[str, dict[str, nn.Module]]:
    """Linear maps in the order of the model, grouped by the module that holds them."""
    grouped: dict[str, dict[str, nn.Module]] = {}
    for name, module in linear_modules(model).items():
        if in_attention(model, name) == attention:
            grouped.setdefault(name.rpartition(".")[0], {})[name] = module
    return grouped
