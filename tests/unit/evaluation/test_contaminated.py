from functools import partial
from pathlib import Path

import numpy as np
import pytest

from brulee.data.rows import Rows
from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.answers import Answer, append
from brulee.evaluation.contaminated import by_contamination, check_rows, run_scores
from brulee.evaluation.stats import interval

ACCURACY = metric("accuracy")
REDUCE = partial(ACCURACY.reduce, "accuracy")


def test_all_clean_and_dirty_items_are_scored_apart() -> None:
    right_NS = np.array([[1.0], [1.0], [0.0], [0.0], [1.0]])
    dirty = [True, True, False, False, False]
    found = by_contamination(dirty, right_NS, REDUCE)
    assert {name: (s and (s.value, s.n)) for name, s in found.items()} == {
        "all": (0.6, 5),
        "clean": (pytest.approx(1 / 3), 3),
        "dirty": (1.0, 2),
    }
    assert found["clean"] == interval(right_NS[2:], REDUCE)


def test_items_of_one_cluster_are_drawn_together() -> None:
    stats = np.random.default_rng(0).random((12, 2))
    reduce = partial(metric("pearson").reduce, "pearson")
    stats = np.array([metric("pearson").statistics(str(a), [str(b)])["pearson"] for a, b in stats])
    names = [str(i // 2) for i in range(12)]
    dirty = [i < 4 for i in range(12)]
    found = by_contamination(dirty, stats, reduce, clusters=names)
    assert found["clean"] == interval(stats[4:], reduce, clusters=names[4:])
    assert found["clean"] != interval(stats[4:], reduce)


def test_no_item_has_no_score() -> None:
    found = by_contamination([False, False], [[1.0], [0.0]], REDUCE)
    assert found["dirty"] is None
    assert found["clean"] == found["all"]


def test_flags_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="3 flags for statistics of shape"):
        by_contamination([True, False, True], [[1.0], [0.0]], REDUCE)


def answered(run: Path, who: str, outputs: dict[int, str], task: str = "rows/test") -> None:
    file = run / "eval" / who / f"{task.replace('/', '-')}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for row, output in outputs.items():
            right = float(output == "yes")
            scored = {"accuracy": right}, {"accuracy": [right]}
            append(out, Answer(str(row), task, "?", output, ("yes",), *scored, 1))


def test_a_run_is_scored_by_its_answers(tmp_path: Path) -> None:
    answered(tmp_path, "base", {7: "yes", 2: "no", 4: "no"})
    answered(tmp_path, "tuned", {2: "no", 4: "yes", 7: "yes"})
    answered(tmp_path, "base", {0: "yes"}, task="other/test")
    dirty = {2: False, 4: True, 7: True, 9: False}  # row 9 was past the run's evaluate.limit
    found = list(run_scores(tmp_path, "rows/test", dirty, [[ACCURACY]]))
    values = {s.items: (s.base and s.base.value, s.tuned and s.tuned.value) for s in found}
    assert values == {"all": (pytest.approx(1 / 3), pytest.approx(2 / 3)), "clean": (0.0, 0.0),
                      "dirty": (0.5, 1.0)}  # fmt: skip
    assert {(s.task, s.metric) for s in found} == {("rows/test", "accuracy")}


def test_a_run_of_other_rows_is_refused(tmp_path: Path) -> None:
    for who in ("base", "tuned"):
        answered(tmp_path, who, {7: "yes", 2: "no"})
    with pytest.raises(InputError, match=r"row 2 of rows/test.*recipe\.yaml"):
        list(run_scores(tmp_path, "rows/test", {7: True}, [[ACCURACY]]))
    with pytest.raises(InputError, match="no answers to chats/test; answered: rows/test"):
        list(run_scores(tmp_path, "chats/test", {7: True}, [[ACCURACY]]))


def test_a_run_that_was_scored_by_other_metrics_is_refused(tmp_path: Path) -> None:
    for who in ("base", "tuned"):
        answered(tmp_path, who, {7: "yes"})
    with pytest.raises(InputError, match="it has no json_f1 of rows/test, which this recipe asks"):
        list(run_scores(tmp_path, "rows/test", {7: True}, [[ACCURACY, metric("json")]]))


def test_a_run_under_another_number_of_phrasings_is_refused(tmp_path: Path) -> None:
    for who in ("base", "tuned"):
        answered(tmp_path, who, {7: "a"})
    with pytest.raises(InputError, match="under 1 of its templates, and this recipe has 2"):
        list(run_scores(tmp_path, "rows/test", {7: True}, [[ACCURACY], [ACCURACY]]))


def test_a_run_of_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    table = Rows.of([{"text": "a"}])
    table.digests = {"rows.jsonl": "12ab"}
    check_rows({"elsewhere/rows.jsonl": "12ab"}, table, tmp_path)
    with pytest.raises(InputError, match=r"made from other data than rows\.jsonl is now"):
        check_rows({"rows.jsonl": "34cd"}, table, tmp_path)
