"""Lengths that a recipe leaves to its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PretrainedConfig

from brulee.errors import InputError
from brulee.methods.continuing import resolved
from brulee.models.configuration import model_name
from brulee.models.lengths import within_context
from brulee.models.rope import longest
from brulee.models.tokenizers import load_encoder
from brulee.recipe import Recipe, recipe_from_dict, with_overrides


def _recipe(model: Path | str, **sections: Any) -> Recipe:
    data = {"source": [{"a": 1}], "templates": {"prompt": "{{ a }}", "completion": "{{ a }}"}}
    values = {"model": str(model), "data": data, "method": {"name": "lora"}}
    return recipe_from_dict({**values, **sections})


def _lengths(recipe: Recipe) -> tuple[int, int]:
    return recipe.train.max_length, recipe.evaluate.generation.max_new_tokens


def test_a_length_that_is_not_given_is_what_the_model_reads(tiny_model_folder: Path) -> None:
    recipe = _recipe(tiny_model_folder)
    assert _lengths(recipe) == (1024, 96)
    assert _lengths(resolved(recipe)) == (512, 96)
    assert load_encoder(recipe).max_length == 512
    assert _lengths(resolved(with_overrides(recipe, ["train.learning_rate=1e-3"]))) == (512, 96)


@pytest.mark.parametrize(("given", "expected"), [({}, (96, 48)), ({"max_length": 80}, (80, 48))])
def test_answers_leave_room_for_prompts(
    tiny_model_folder: Path, tmp_path: Path, given: dict[str, int], expected: tuple[int, int]
) -> None:
    text = (tiny_model_folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("512", "96"))
    assert _lengths(within_context(_recipe(tmp_path, train=given))) == expected


def test_a_length_that_is_given_stays(tiny_model_folder: Path) -> None:
    """Loading the model refuses it, with its line."""
    recipe = _recipe(tiny_model_folder, train={"max_length": 1024})
    assert _lengths(within_context(recipe)) == (1024, 96)


def test_a_scaled_model_reads_more(tiny_model_folder: Path) -> None:
    model = {"name": str(tiny_model_folder), "rope_scaling": {"rope_type": "yarn", "factor": 1.5}}
    recipe = recipe_from_dict({**_recipe("x").to_dict(), "model": model, "train": {}})
    assert within_context(recipe).train.max_length == 768


def test_positions_without_a_limit(tiny_t5_folder: Path) -> None:
    assert _lengths(within_context(_recipe(tiny_t5_folder))) == (1024, 96)


def test_a_folder_of_the_name_bundled_is_not_the_model(tmp_path: Path) -> None:
    (tmp_path / "bundled").mkdir()
    recipe = _recipe("bundled")
    recipe.source.folder = tmp_path
    assert model_name(recipe) == "bundled"


def test_a_limit_below_zero_is_none() -> None:
    assert longest(PretrainedConfig(max_position_embeddings=-1)) is None


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder or file.*Valid: bundled"):
        within_context(_recipe(tmp_path / "nothing"))
