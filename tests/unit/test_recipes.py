"""The recipes of this repository name only what exists."""

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from brulee.data.templates import load_templates
from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.methods import build_method
from brulee.recipe import Recipe, load_recipe, recipe_from_dict
from brulee.recipe.axes import split_axes

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
# Brought by the user, as the recipe's own comment says.
OVERRIDES = {"dialogsum": ["data.source=dialogsum.jsonl"]}


def test_recipes_are_there() -> None:
    assert {"support-chat", "support-chat-full", "dialogsum"} <= {r.stem for r in RECIPES}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_names_only_what_exists(file: Path) -> None:
    recipe = load_recipe(file, OVERRIDES.get(file.stem, ()))
    for _, task in recipe.tasks:
        assert task.templates is not None
        assert len(load_templates(task.templates)) >= 1
        for name in task.metrics or recipe.evaluate.metrics or ():
            metric(name)
    build_method(recipe.method, recipe.source)
    assert recipe.name == file.stem


def test_quickstart_compares_methods_on_the_same_rows() -> None:
    lora, full = (load_recipe(ROOT / "recipes" / f"support-chat{s}.yaml") for s in ("", "-full"))
    assert (lora.data, lora.evaluate) == (full.data, full.evaluate)
    assert (lora.method.name, full.method.name) == ("lora", "full")


def test_dialogsum_says_that_its_file_must_be_given() -> None:
    with pytest.raises(InputError, match=r"'data\.source' is required"):
        load_recipe(ROOT / "recipes" / "dialogsum.yaml")


def test_a_folder_is_no_recipe_and_a_run_is_gone_on_with(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(InputError, match="a folder, where the recipe's file should be"):
        load_recipe(run)
    (run / "recipe.yaml").write_text("data: {source: rows.jsonl}")
    with pytest.raises(InputError, match=r"this is a run, not a recipe; `brulee resume .*run`"):
        load_recipe(run)


def documented() -> list[str]:
    """Every command of the documentation, and of recipes' comments, that reads a recipe here."""
    texts = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *RECIPES]
    found = [
        line.strip("# ").split("  ")[0]
        for text in texts
        for line in re.sub(r" *\\\n *", " ", text.read_text(encoding="utf-8")).splitlines()
    ]
    command = re.compile(r"brulee (run|train|plan|sweep|bench train|data \w+) recipes/")
    return sorted({line for line in found if command.match(line)})


def test_the_documentation_has_commands() -> None:
    assert len(documented()) >= 16


@pytest.mark.parametrize("command", documented())
def test_a_documented_command_changes_what_the_recipe_has(command: str) -> None:
    words = shlex.split(command)
    file = next(word for word in words if word.startswith("recipes/"))
    settings = [after for word, after in itertools.pairwise(words) if word == "--set"]
    _, fixed = split_axes(settings) if words[1] == "sweep" else ((), settings)
    load_recipe(ROOT / file, [*OVERRIDES.get(Path(file).stem, ()), *fixed])


def snippets() -> dict[str, dict[str, Any]]:
    """The recipes, and parts of recipes, that pages show, by page and number."""
    found: dict[str, dict[str, Any]] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        for number, values in enumerate(map(yaml.safe_load, blocks), start=1):
            if values.keys() <= Recipe.model_fields.keys():
                found[f"{page.stem}-{number}"] = values
    return found


SNIPPETS = snippets()


def test_the_pages_show_recipes() -> None:
    assert len(SNIPPETS) >= 15


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_recipe_on_a_page_is_valid(name: str) -> None:
    data = {"source": "bundled/support-chats", "templates": "dialogue-summary"}
    recipe = recipe_from_dict({"data": data, **SNIPPETS[name]})
    if not recipe.method.start:
        build_method(recipe.method, recipe.source)
