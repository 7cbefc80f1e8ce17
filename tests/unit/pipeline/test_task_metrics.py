"""The metrics that a recipe names, and the files in their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from brulee.inference.sampling import Sampling
from brulee.pipeline.task_metrics import given_names
from brulee.recipe import load_recipe


def test_a_schema_in_a_metrics_name_is_found_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "order.json").write_text("{}")
    (folder / "recipe.yaml").write_text(
        "model: bundled\n"
        "data: {source: a.jsonl, templates: {prompt: '{{a}}', completion: '{{b}}'}}\n"
        "method: {name: lora}\nevaluate: {metrics: [rouge, 'json:schema=order.json']}\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(folder / "recipe.yaml")
    ((_, spec),) = recipe.tasks
    assert given_names(recipe, spec) == ["rouge", f"json:schema={folder / 'order.json'}"]


def test_what_identifies_an_answer_of_a_run_is_as_it_was_before_there_were_schemas() -> None:
    assert repr(Sampling(5)) == (
        "Sampling(max_new_tokens=5, temperature=0.0, top_p=1.0, seed=0, stop=(), beams=1, "
        "length_penalty=1.0)"
    )
    assert Sampling(5).further == {}
    assert Sampling(5, top_k=3, min_p=0.0).further == {"top_k": 3}
