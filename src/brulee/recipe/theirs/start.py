"""The adapter that another tool trains further, as a recipe's `method.start`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.keys import MERGED
from brulee.recipe.theirs.values import listed


def start(found: Converted, flat: Mapping[str, Any]) -> None:
    """The adapter to train further, whose own file says its rank, targets and so on."""
    key = next((k for k in ("adapter_name_or_path", "lora_model_dir") if flat.get(k)), None)
    if key is None:
        return
    name = flat[key]
    names = listed(name) if isinstance(name, str | list) else []
    if flat.get("create_new_adapter"):
        found.leave(key, name, MERGED)
    elif found.values["method.name"] != "lora":
        found.leave(key, name, "the method is not that of an adapter")
    elif len(names) != 1:
        found.leave(key, name, "training starts from one adapter: brulee adapters combine")
    else:
        for to in [to for to in found.values if to.startswith("method.")]:
            if to not in ("method.name", "method.plus_ratio"):
                del found.values[to]
        found.left = [one for one in found.left if one.key != "lora_target_modules"]
        found.put("method.start", names[0], "its rank, alpha, targets and so on are kept")
