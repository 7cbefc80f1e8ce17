"""GLUE and SuperGLUE in the library's phrasings: choices stand for labels, an item counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation.asking import Asked
from brulee.evaluation.scores import task_scores
from brulee.evaluation.suite_options import suite_options
from brulee.evaluation.suite_run import answered
from brulee.evaluation.suites import SUITES
from brulee.evaluation.suites.glue_table import ENTRIES
from brulee.evaluation.suites.over_phrasings import OverPhrasings
from brulee.evaluation.tasks import Example, Reply, SuiteTask, TaskScores
from brulee.inference.engine import Likelihood
from brulee.pipeline.evaluation import rows_of

CB = ("entailment", "contradiction", "neutral")
ROWS: dict[str, list[dict[str, Any]]] = {
    "CB": [
        {"premise": f"She said {i}.", "hypothesis": f"it is {i}", "label": CB[i % 3], "idx": i}
        for i in range(6)
    ],
    "WSC": [
        {
            "text": "Ann told Sue that she won .", "label": bool(i % 2), "idx": i,
            "target": {"span1_text": "Ann", "span2_text": "she", "span2_index": 4},
        }
        for i in range(4)
    ],
    "COPA": [
        {
            "premise": "It rained.", "choice1": "It was wet.", "choice2": "It was dry.",
            "question": "effect", "label": 0, "idx": 0,
        }
    ],
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, rows in ROWS.items():
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name / "val.jsonl").write_text(text)
    return tmp_path


def opened(data: Path, name: str = "superglue", **options: Any) -> dict[str, SuiteTask]:
    suite = SUITES[name]
    return {task.name: task for task in suite.open(data, suite_options(suite, options))}


def chosen(example: Example, choice: int) -> Reply:
    """As a model that is sure of it, so that an expected grade is that of the choice."""
    of = range(len(example.choices))
    return Reply(tuple(Likelihood(1000.0 * (k == choice), 1, False) for k in of))


def scored(task: SuiteTask, choose: Any) -> Any:
    """The scores where `choose(example)` is the likeliest choice."""
    examples = task.examples()
    replies = [chosen(e, choose(e)) for e in examples]
    judged = task.join(
        examples, [task.judge(e, reply) for e, reply in zip(examples, replies, strict=True)]
    )
    lines = [
        answered(task, Asked(e, (), (), None, 0), reply, one)
        for e, reply, one in zip(examples, replies, judged, strict=True)
    ]
    return task_scores(task, lines, 200).scores


def test_right_labels_are_right_in_every_phrasing(data: Path) -> None:
    tasks = opened(data, phrasings="all")
    assert list(tasks) == ["superglue/cb", "superglue/copa", "superglue/wsc"]
    for task in tasks.values():
        found = scored(task, lambda example: example.about["gold"])
        assert {one.interval.value for one in found.values()} == {1.0}
        assert len(found) == len(task.metrics) > 10


def test_choices_are_the_answers_of_the_labels_in_their_order(data: Path) -> None:
    first, second = opened(data, phrasings=2, tasks="wsc")["superglue/wsc"].examples(1)
    assert first.choices == (" No", " Yes")
    assert (first.references, first.about["gold"]) == (("false",), 0)
    assert "she" in second.question


def test_an_item_counts_once_with_the_mean_over_its_phrasings(data: Path) -> None:
    task = opened(data, phrasings="all", tasks="cb")["superglue/cb"]
    assert isinstance(task, OverPhrasings)
    found = scored(task, lambda e: e.about["gold"] if e.about["phrasing"] == "bet" else 0)
    names = [key.partition("@")[2] for key in found if key.startswith("accuracy@")]
    assert len(names) == 10
    assert found["accuracy@bet"].interval.value == 1.0
    assert found["accuracy@letters"].interval.value == pytest.approx(1 / 3)
    assert found["accuracy"].interval.value == pytest.approx((1 + 9 / 3) / 10)
    assert {one.interval.n for one in found.values()} == {6}
    alone = found["macro_f1@letters"].interval.value
    assert found["macro_f1"].interval.value == pytest.approx((1 + 9 * alone) / 10)
    suite = SUITES["superglue"]
    (average,) = suite.aggregates({"superglue/cb": TaskScores(task, found)})
    both = (found["accuracy"].interval.value + found["macro_f1"].interval.value) / 2
    assert average.interval.value == pytest.approx(both)


def test_every_task_of_glue_has_its_official_scores_over_phrasings(fixtures: Path) -> None:
    tasks = opened(fixtures / "glue", "glue", phrasings="all")
    assert list(tasks) == [f"glue/{name}" for name in ENTRIES]
    for name, entry in ENTRIES.items():
        task = tasks[f"glue/{name}"]
        assert task.metrics[: len(entry.scores)] == entry.scores
        assert len(task.metrics) == 11 * len(entry.scores)
        if entry.labels:
            found = scored(task, lambda example: example.about["gold"])
            assert {one.interval.value for one in found.values()} == {1.0}, name
    first = tasks["glue/mnli-m"].examples(1)[0]
    assert [c.strip() for c in first.choices] == [
        "has to be true",
        "could be true or false",
        "has to be false",
    ]


def test_correlations_are_taken_in_each_phrasing_and_averaged(fixtures: Path) -> None:
    task = opened(fixtures / "glue", "glue", phrasings=3, tasks="stsb")["glue/stsb"]
    alone = opened(fixtures / "glue", "glue", tasks="stsb")["glue/stsb"]
    items = alone.examples()
    first, *_, last = task.examples()
    assert first.choices == (" 0.0", " 1.0", " 2.0", " 3.0", " 4.0", " 5.0")
    assert (first.id, last.id) == (
        f"{items[0].id}@described-scale",
        f"{items[-1].id}@retelling-mark",
    )
    grades = np.random.default_rng(0).integers(0, 6, (3, len(items)))
    names = ("described-scale", "data-entry", "retelling-mark")
    by_id = {item.id: i for i, item in enumerate(items)}

    def graded(example: Example) -> int:
        item, _, name = example.id.partition("@")
        return int(grades[names.index(name), by_id[item]])

    found = scored(task, graded)
    for key in ("pearson", "spearman"):
        each = []
        for name, of in zip(names, grades, strict=True):
            same = scored(alone, lambda e, of=of: int(of[by_id[e.id]]))[key].interval.value
            assert found[f"{key}@{name}"].interval.value == pytest.approx(same)
            each.append(same)
        assert len(set(each)) == 3
        assert found[key].interval.value == pytest.approx(sum(each) / 3)
        assert found[key].interval.n == len(items)


def test_phrasings_of_glue_are_compared_and_not_written(fixtures: Path) -> None:
    with pytest.raises(InputError, match="phrasings = all compares the answers of each phrasing"):
        opened(fixtures / "glue", "glue", phrasings="all", prompt="text-to-text")
    with pytest.raises(InputError, match="phrasings = 0 is not valid"):
        opened(fixtures / "glue", "glue", phrasings=0)


@pytest.mark.parametrize("name", ["glue", "superglue"])
def test_a_leaderboard_takes_one_phrasing(fixtures: Path, name: str) -> None:
    tasks = opened(fixtures / name, name, phrasings=2, tasks="rte")
    examples = {task.name: task.examples() for task in tasks.values()}
    with pytest.raises(
        InputError, match=f"{name}/rte is asked in 2 phrasings; leave phrasings out"
    ):
        SUITES[name].check_bundle(examples)


def test_tasks_without_a_family_are_named(data: Path) -> None:
    with pytest.raises(InputError, match="unknown task of superglue with phrasings 'multirc'"):
        opened(data, phrasings="all", tasks="multirc")
    with pytest.raises(InputError, match="phrasings = 0 is not valid"):
        opened(data, phrasings=0)
    assert "superglue/cb" in opened(data)
    assert len(opened(data)["superglue/cb"].examples()) == 6


def test_a_limit_is_one_of_items_and_not_of_their_phrasings(data: Path) -> None:
    asked = opened(data, phrasings="all", tasks="cb")["superglue/cb"].examples(4)
    assert (len(asked), rows_of(asked)) == (40, 4)
    assert rows_of(opened(data, tasks="cb")["superglue/cb"].examples()) == 6
    assert rows_of([]) == 0
