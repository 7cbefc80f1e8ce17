"""The data section: one task, a list of tasks, or a nested mixture, and its error messages."""

import re
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.recipe import MixtureSpec, load_recipe, recipe_from_dict

NESTED = """\
data:
  mix: {kind: weights}
  tasks:
    - {source: a.jsonl, weight: 0.4}
    - name: reasoning
      weight: 0.6
      tasks:
        - source: b.jsonl
        - source: c.jsonl
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return file


def test_tasks_are_listed_in_reading_order_with_their_paths(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, NESTED))
    assert [(path[1:], task.source) for path, task in recipe.tasks] == [
        (("tasks", 0), "a.jsonl"),
        (("tasks", 1, "tasks", 0), "b.jsonl"),
        (("tasks", 1, "tasks", 1), "c.jsonl"),
    ]


def test_a_resolved_mixture_reads_back_to_an_equal_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, NESTED))
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").to_dict() == {**recipe.to_dict(), "name": "recipe"}


def test_a_list_is_short_for_a_mixture() -> None:
    short = recipe_from_dict({"data": [{"source": "a"}, {"source": "b"}]})
    assert isinstance(short.data, MixtureSpec)
    long = recipe_from_dict({"data": {"tasks": [{"source": "a"}, {"source": "b"}]}})
    assert short.to_dict() == long.to_dict()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("data:\n  - source: a\n  - sorce: b\n", 3, "did you mean 'source'"),
        ("data:\n  tasks:\n    - source: a\n  mx: 1\n", 4, "did you mean 'mix'"),
        ("data:\n  - source: a\n  - tasks: [{source: b}]\n    wieght: 1\n", 4, "'weight'"),
        ("data:\n  - source: a\n    split: {tst: 0.1}\n", 3, "did you mean 'test'"),
        ("data:\n  - {source: a, weight: 0}\n", 2, "it should be greater than 0"),
        ("data: []\n", 1, "the list should have at least 1"),
    ],
)
def test_a_mistake_inside_a_list_is_named_by_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(InputError, match=rf"line {line}: ") as caught:
        load_recipe(written(tmp_path, text))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"source": ""}, "data.source = '' is not valid: it should have at least 1 character"),
        ({"source": "a", "split": {"group": []}}, "data.split.group = [] is not valid: the list"),
        ({"source": "a", "split": {"group": [""]}}, "data.split.group.0 = '' is not valid"),
    ],
)
def test_a_name_that_names_nothing_is_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        recipe_from_dict({"data": data})


def test_an_override_reaches_into_a_list(tmp_path: Path) -> None:
    file = written(tmp_path, "data:\n  - source: a\n  - source: b\n")
    recipe = load_recipe(file, ["data.1.limit=7"])
    assert [task.limit for _, task in recipe.tasks] == [None, 7]
    with pytest.raises(InputError, match=r"--set data.2.limit=7: data is a list of 2; 2 is not"):
        load_recipe(file, ["data.2.limit=7"])
    with pytest.raises(InputError, match=r"^--set data.1.limt: unknown key"):
        load_recipe(file, ["data.1.limt=7"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.micro_batch=autoo", "it should be 'auto' or a valid integer."),
        ("train.micro_batch=0", "it should be 'auto' or greater than or equal to 1."),
        ("model=5", "it should be a valid string."),
        ("data.templates=5", "it should be a valid string, a valid list or a valid dictionary."),
        ("train.max_steps=x", "it should be a valid integer."),
    ],
)
def test_a_value_of_several_kinds_is_told_all_of_them(
    tmp_path: Path, override: str, words: str
) -> None:
    file = written(tmp_path, "data: {source: a}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(file, [override])
    assert str(caught.value).endswith(f"is not valid: {words}")


@pytest.mark.parametrize("value", ["1.0", "1.5", "-1", "-0.1", "x", "true"])
def test_what_is_neither_a_share_nor_a_number_of_rows_is_refused(
    tmp_path: Path, value: str
) -> None:
    text = f"data:\n  source: a.jsonl\n  split:\n    test: {value}\n"
    with pytest.raises(InputError) as caught:
        load_recipe(written(tmp_path, text))
    said = str(caught.value)
    assert "line 4: data.split.test = " in said
    assert "it should be a share below 1, such as 0.1, or a number of rows, such as 500" in said
    assert said.endswith("one row is 1, not 1.0.") == (value == "1.0")


@pytest.mark.parametrize("value", [0, 0.0, 0.25, 1, 500])
def test_a_float_is_a_share_and_an_integer_a_number_of_rows(value: float) -> None:
    recipe = recipe_from_dict({"data": {"source": "a.jsonl", "split": {"test": value}}})
    ((_, task),) = recipe.tasks
    assert (task.split.test, type(task.split.test)) == (value, type(value) if value else float)
