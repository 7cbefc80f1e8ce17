"""`brulee compare` tests the difference of two runs on the items that both answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.evaluation import of_score
from brulee.evaluation.answers import Answer
from brulee.pipeline import between_runs
from brulee.reporting import results

ONE, OTHER = Path("runs/one"), Path("runs/other")
JUDGED = {"metrics": ["rouge1", "extractiveness"], "guards": [], "resamples": 100}


def lines(run: Path) -> list[dict[str, Any]]:
    file = run / "eval/tuned/rows-test.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_two_runs_are_compared_item_by_item(at: Any, brulee: Any) -> None:
    evaluate = at.recipe["evaluate"] | JUDGED
    for run, steps in ((ONE, 1), (OTHER, 6)):
        done = brulee(*at.run(evaluate=evaluate, train__max_steps=steps), "--folder", run)
        assert done.code == 0, done.err
    first, second = brulee("compare", ONE, OTHER, "--json").json
    assert "against_first" not in first
    pairs = {pair["metric"]: pair for pair in second["against_first"]}
    assert list(pairs)[:2] == ["rouge1", "coverage"]
    own = [results.read(run).score("tuned", "rows/test", "rouge1") for run in (ONE, OTHER)]
    found = [pairs["rouge1"]["base"], pairs["rouge1"]["tuned"]]
    assert found == pytest.approx([one.value for one in own if one])
    assert (pairs["coverage"]["descriptive"], pairs["rouge1"]["descriptive"]) == (True, False)
    before, after = ({a["id"]: a["scores"]["rouge1"] for a in lines(run)} for run in (ONE, OTHER))
    better = sum(after[key] > before[key] for key in before)
    assert pairs["rouge1"]["wins"] == better
    count = len(before)
    shown = " ".join(brulee("compare", ONE, OTHER).out.split())
    assert f"other minus one, on {count} items of both Score one other Difference" in shown

    file = OTHER / "eval/tuned/rows-test.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(OTHER)[1:]))
    (pair, *_) = brulee("compare", ONE, OTHER, "--json").json[1]["against_first"]
    assert pair["wins"] + pair["losses"] + pair["ties"] == count - 1
    file.unlink()
    gone = brulee("compare", ONE, OTHER, "--json")
    assert (gone.code, gone.json[1]["against_first"]) == (0, [])


def answer(number: int, prompt: str, place: str = "a.csv, line 2") -> Answer:
    return Answer(str(number), "t", prompt, "yes", ("yes",), {}, {}, 1, place=place)


def test_answers_with_one_number_and_label_are_paired_if_they_are_to_one_row() -> None:
    """Of the same file, or with the same prompt; of other data, numbers and labels recur."""
    before = [answer(n, f"Is {n} cut?") for n in range(3)]
    after = [answer(0, "Is 0 cut?"), answer(1, "Is 1"), answer(2, "Is it?", "b.csv, line 2")]
    files = {"a": "0", "a.csv": "1", "b.csv": "2"}
    for of_after, expected in ((files, [0, 1]), ({"a.csv": "3"}, [0]), ({}, [0])):
        sides = between_runs._of_one_row(before, after, files, of_after)
        assert [[int(one.id) for one in side] for side in sides] == [expected, expected]


@pytest.mark.parametrize("key", ["bleu", "rouge2", "rougeL:recall", "json_f1", "bits_per_byte"])
def test_a_score_says_which_metric_gives_it(key: str) -> None:
    found = of_score(key)
    assert found is not None
    assert key in found.keys


@pytest.mark.parametrize("key", ["matthews", "ranked_macro_f1", "json_by_schema", "nothing"])
def test_a_score_that_depends_on_labels_or_a_schema_names_no_metric(key: str) -> None:
    assert of_score(key) is None
