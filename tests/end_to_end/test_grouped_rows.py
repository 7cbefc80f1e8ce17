"""Rows of one group are no independent witnesses: scores draw groups, and say so."""

from __future__ import annotations

import json
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brulee.evaluation import metric
from brulee.evaluation.stats import compare, interval
from brulee.reporting import results

RUN = Path("runs/recipe")


def answers(who: str) -> list[dict[str, Any]]:
    lines = (RUN / "eval" / who / "rows-test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_rows_of_one_customer_are_drawn_together(at: Any, brulee: Any) -> None:
    words = ["cup", "pen", "box", "lamp", "rope", "seed", "coin"]
    rows = [
        {"note": f"the {word} and {other}", "label": f"{other} {word}", "customer": i // 3}
        for i, (word, other) in enumerate(permutations(words, 2))
    ]
    at.rows(rows)
    data = {
        "source": "rows.jsonl",
        "templates": {"prompt": "Turn round: {{ note }}", "completion": "{{ label }}"},
        "split": {"test": 0.4, "group": "customer", "near_duplicates": False},
    }
    asked = {"metrics": ["chrf"], "generation": {"max_new_tokens": 4}, "resamples": 200}
    done = brulee(*at.run(data=data, evaluate=asked))
    assert done.code == 0, done.err
    found = results.read(RUN)
    base, tuned = answers("base"), answers("tuned")
    groups = [one["cluster"] for one in base]
    assert found.groups == {"rows/test": len(set(groups))}
    assert len(set(groups)) == len(groups) / 3
    reduce = partial(metric("chrf").reduce, "chrf")
    sides = [np.array([one["statistics"]["chrf"] for one in side]) for side in (base, tuned)]
    expected = interval(sides[0], reduce, 200, clusters=groups)
    score = found.score("base", "rows/test", "chrf")
    assert score is not None
    assert (score.low, score.high) == pytest.approx(expected[1:3])
    change = compare(*sides, reduce, 200, clusters=groups)
    assert found.comparisons[0].p == pytest.approx(change.p)
    assert found.comparisons[0].high == pytest.approx(change.high)
    said = f"{len(groups)} in {len(set(groups))} groups"
    assert said in " ".join(done.out.split())
    assert said in (RUN / "report.html").read_text()
