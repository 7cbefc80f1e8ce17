"""train.trackers: which names it takes, and what is said of the others."""

import json
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.recipe import recipe_from_dict


def trackers(value: Any) -> list[str]:
    values = {"data": {"source": "rows.jsonl"}, "train": {"trackers": value}}
    return list(recipe_from_dict(values).train.trackers)


def test_one_name_is_short_for_a_list() -> None:
    assert trackers("wandb") == ["wandb"]
    assert trackers(["mlflow", "wandb"]) == ["mlflow", "wandb"]
    assert trackers([]) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tensorbord"], "did you mean 'tensorboard'? It should be 'tensorboard', 'wandb' or "),
        ("wandbb", "did you mean 'wandb'?"),
        (["comet"], "train.trackers.0 = 'comet' is not valid: it should be 'tensorboard', 'wandb'"),
        ([3], "it should be 'tensorboard', 'wandb' or 'mlflow'"),
        (["wandb", "mlflow", "wandb"], "is not valid: it names 'wandb' twice."),
    ],
)
def test_other_names_are_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        trackers(given)
    assert said in str(refused.value)
    assert "recipe: train.trackers" in str(refused.value)


def test_the_schema_takes_both() -> None:
    from brulee.recipe import Recipe

    schema = json.dumps(Recipe.model_json_schema()["$defs"]["TrainSpec"]["properties"]["trackers"])
    assert '"array"' in schema
    assert schema.count('"mlflow"') == 2
