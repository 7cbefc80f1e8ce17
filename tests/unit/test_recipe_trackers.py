"""train.trackers: how names are given; which there are is known where they are opened."""

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
        ([3], "train.trackers.0 = 3 is not valid: it should be a valid string"),
        (["wandb", "mlflow", "wandb"], "is not valid: it names 'wandb' twice."),
    ],
)
def test_what_is_no_list_of_names_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        trackers(given)
    assert said in str(refused.value)
    assert "recipe: train.trackers" in str(refused.value)


def test_the_schema_takes_both() -> None:
    from brulee.recipe import Recipe

    schema = json.dumps(Recipe.model_json_schema()["$defs"]["TrainSpec"]["properties"]["trackers"])
    assert '"array"' in schema
    assert schema.count('"string"') == 2
