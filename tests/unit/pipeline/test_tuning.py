"""What is refused before a training begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.pipeline.checks import check_sharded
from brulee.recipe import recipe_from_dict


@pytest.mark.parametrize(
    ("method", "quantised", "said"),
    [
        ({"name": "lora"}, None, None),
        ({"name": "full"}, None, None),
        ({"name": "lora"}, "nf4", "method lora: weights in nf4 are not sharded"),
        ({"name": "selective", "train": "norms"}, None, None),
        ({"name": "selective", "train": "sparse"}, None, "method selective: it writes into the"),
    ],
)
def test_what_cannot_be_sharded(
    tiny_model_folder: Path, method: dict[str, str], quantised: str | None, said: str | None
) -> None:
    model = {"name": str(tiny_model_folder), "quantise": quantised}
    recipe = recipe_from_dict({"model": model, "data": {"source": "x.jsonl"}, "method": method})
    own = build_method(recipe.method, recipe.source)
    if said is None:
        check_sharded(recipe, own)
        return
    with pytest.raises(InputError, match=f"{said}.*; start without ACCELERATE_USE_FSDP"):
        check_sharded(recipe, own)
