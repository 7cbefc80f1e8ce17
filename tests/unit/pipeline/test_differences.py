"""Recipes that are scored alike are told from those that are not."""

from typing import Any

import pytest

from brulee.pipeline.differences import of_scoring, of_training
from brulee.recipe import recipe_from_dict


@pytest.mark.parametrize(
    ("metrics", "differs"), [(["rouge", "bleu"], False), (["rouge"], True), (None, False)]
)
def test_metrics_that_are_the_default_may_be_left_out(metrics: Any, differs: bool) -> None:
    data = {"source": "rows.jsonl"}
    before = recipe_from_dict({"data": data, "evaluate": {"metrics": metrics}})
    now = recipe_from_dict({"data": data})
    assert bool(list(of_scoring(before, now))) == differs
    assert not list(of_training(before, now))
