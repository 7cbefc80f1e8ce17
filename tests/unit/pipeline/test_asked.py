"""What is scored under a limit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brulee.data.corpus import open_corpus
from brulee.pipeline.asked import Asked, asked_of
from brulee.pipeline.task_metrics import task_metrics
from brulee.recipe import recipe_from_dict


@pytest.mark.parametrize("phrasings", [1, "all"])
def test_a_limit_scores_rows_of_every_label_of_a_sorted_file(
    tmp_path: Path, phrasings: object
) -> None:
    labels = ["bad"] * 200 + ["good"] * 200
    for part in ("train", "test"):
        rows = [{"q": f"{part} {n}", "a": label} for n, label in enumerate(labels)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    template = {"jinja": "{{ q }} ||| {{ a }}", "answer_choices": "bad ||| good"}

    def asked(limit: int | None) -> Asked:
        recipe = recipe_from_dict(
            {
                "data": {"source": str(tmp_path), "templates": template},
                "evaluate": {"metrics": ["accuracy"], "limit": limit, "phrasings": phrasings},
            }
        )
        corpus = open_corpus(recipe)
        (found,) = asked_of(recipe, corpus, task_metrics(recipe, corpus))
        return found

    every = asked(None).rows
    assert list(every) == sorted(every)
    drawn = asked(40).rows[:40]
    assert len(set(drawn)) == 40
    assert 10 <= sum(row < every[200] for row in drawn) <= 30
    assert asked(80).rows[:40] == drawn, "what was scored under a lower limit is kept"
    assert asked(400).rows == every
