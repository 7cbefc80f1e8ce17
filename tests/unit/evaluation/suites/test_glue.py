"""GLUE's files, prompts, scores and submission are the official ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.glue_table import ENTRIES
from brulee.evaluation.suites.rows import Row
from brulee.evaluation.tasks import Answered, Judged, Reply

GLUE = suite("glue")
REAL = pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA not set")
PROMPTS = {
    "cola": "The baker sold every loaf before noon.\n"
    "Question: Does this sentence make sense?\nAnswer:",
    "sst2": "a film that never finds its feet \n"
    "Question: Is this sentence positive or negative?\nAnswer:",
    "qqp": "Question 1: How do I boil an egg?\nQuestion 2: What is the way to boil eggs?\n"
    "Question: Do both questions ask the same thing?\nAnswer:",
    "mnli-m": "The ferry leaves at nine every morning.\n"
    "Question: There is a ferry in the morning. True, False or Neither?\nAnswer:",
    "rte": "The museum reopened in June after two years of repairs.\n"
    "Question: The museum was closed for repairs. True or False?\nAnswer:",
}
TEXTS = {
    "cola": ("cola sentence: The baker sold every loaf before noon.", "acceptable"),
    "stsb": (
        "stsb sentence1: A dog runs on a beach. sentence2: A dog is running along the sand.",
        "4.600",
    ),
    "mnli-mm": ("mnli hypothesis: I wrote to you. premise: I wrote to you twice.", "entailment"),
    "ax": (
        "mnli hypothesis: Some guest left early. premise: Every guest left early.",
        "entailment",
    ),
    "wnli": (
        "wnli sentence1: The jug did not fit on the shelf because it was too tall. "
        "sentence2: The jug was too tall.",
        "entailment",
    ),
}


def opened(folder: Path | None, **options: Any) -> dict[str, Any]:
    found = GLUE.open(folder, GLUE.Options(**options))
    return {task.name.removeprefix("glue/"): task for task in found}


def test_every_task_is_found_in_its_official_files(fixtures: Path) -> None:
    tasks = opened(fixtures / "glue")
    assert set(tasks) == set(ENTRIES)
    counts = {name: len(task.examples()) for name, task in tasks.items()}
    assert counts["cola"] == 4
    assert counts["mrpc"] == 3


@pytest.mark.parametrize(("name", "prompt"), PROMPTS.items(), ids=PROMPTS)
def test_likelihood_prompts(fixtures: Path, name: str, prompt: str) -> None:
    assert opened(fixtures / "glue")[name].examples(1)[0].question == prompt


def test_a_hypothesis_gets_the_stop_that_it_lacks(fixtures: Path) -> None:
    example = opened(fixtures / "glue")["mnli-m"].examples()[1]
    assert "Question: The ferry is full. True" in example.question
    assert example.choices == (" True", " Neither", " False")


@pytest.mark.parametrize(("name", "expected"), TEXTS.items(), ids=TEXTS)
def test_text_to_text_prompts_are_t5s(fixtures: Path, name: str, expected: tuple[str, str]) -> None:
    (example,) = opened(fixtures / "glue", prompt="text-to-text")[name].examples(1)
    assert (example.question, example.about["gold"]) == expected
    assert example.choices == ()


@pytest.mark.parametrize("prompt", ["likelihood", "text-to-text"])
def test_gold_answers_score_100_everywhere(fixtures: Path, solvers: Any, prompt: str) -> None:
    tasks = opened(fixtures / "glue", prompt=prompt)
    for name, task in tasks.items():
        if (name, prompt) == ("stsb", "likelihood"):
            continue  # whole grades cannot say 4.6
        found = solvers.values(task, solvers.gold)
        assert found.pop("invalid", 0.0) == 0.0
        assert found == pytest.approx(dict.fromkeys(ENTRIES[name].scores, 1.0)), name


def test_likelihoods_of_grades_become_their_expected_value(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "glue")["stsb"]
    (example,) = task.examples(1)
    output = task.judge(example, solvers.choosing([4, 5], 6)).output
    assert float(output) == pytest.approx(4.498, abs=1e-3)

    def close(example: Any) -> Reply:
        return solvers.choosing([round(float(example.references[0]))], 6)

    found = solvers.values(task, close)
    assert found["pearson"] > 0.98
    assert found["spearman"] == pytest.approx(1.0)


def test_constant_answers_have_no_correlation(fixtures: Path, solvers: Any) -> None:
    tasks = opened(fixtures / "glue")
    for choice in range(3):
        assert solvers.values(tasks["ax"], solvers.constant(choice)) == {"matthews": 0.0}
    for choice in range(2):
        assert solvers.values(tasks["cola"], solvers.constant(choice)) == {"matthews": 0.0}
    assert solvers.values(tasks["stsb"], solvers.constant(3)) == {"pearson": 0.0, "spearman": 0.0}


def test_invalid_answers_are_counted_and_wrong_both_ways(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "glue", prompt="text-to-text")["mrpc"]  # wanted: 1, 0, 1
    found = solvers.values(task, lambda _: Reply(text="1"))  # no label of T5's
    assert found == {"f1": 0.0, "accuracy": 0.0, "invalid": 1.0}
    valid = solvers.values(task, lambda _: Reply(text=" equivalent "))
    assert valid == pytest.approx({"f1": 0.8, "accuracy": 2 / 3, "invalid": 0.0})
    assert [task.higher_is_better(key) for key in valid] == [True, True, False]


def test_the_average_takes_a_tasks_own_mean_and_mnli_once(fixtures: Path, solvers: Any) -> None:
    scored = solvers.score_all(opened(fixtures / "glue").values(), solvers.constant(1))
    values = {n.removeprefix("glue/"): s.scores for n, s in scored.items()}

    def value(name: str, key: str) -> float:
        return float(values[name][key].interval.value)

    expected = [
        value("cola", "matthews"),
        value("sst2", "accuracy"),
        (value("mrpc", "f1") + value("mrpc", "accuracy")) / 2,
        (value("stsb", "pearson") + value("stsb", "spearman")) / 2,
        (value("qqp", "f1") + value("qqp", "accuracy")) / 2,
        (value("mnli-m", "accuracy") + value("mnli-mm", "accuracy")) / 2,
        value("qnli", "accuracy"),
        value("rte", "accuracy"),
        value("wnli", "accuracy"),
    ]
    (average,) = GLUE.aggregates(scored)
    assert average.interval.value == pytest.approx(sum(expected) / 9)
    assert (average.tasks, average.of) == (9, 9)
    assert (average.task, average.metric) == ("glue", "average")
    del scored["glue/mnli-mm"]
    (partial,) = GLUE.aggregates(scored)
    assert partial.label.endswith("only 8 of 9 tasks")


def test_the_bundle_has_the_leaderboards_names_header_and_labels(
    fixtures: Path, solvers: Any
) -> None:
    answered = {}
    for name, entry in ENTRIES.items():
        task = opened(fixtures / "glue")[name]
        (example,) = task.examples(1)
        examples = [replace(example, about={"index": i}) for i in range(entry.rows[0])]
        output = {"stsb": "3.694"}.get(name, entry.labels[-1] if entry.labels else "")
        answered[f"glue/{name}"] = Answered(task, examples, [Judged(output)] * len(examples))
    files = GLUE.bundle(answered)
    lines = {name: text.splitlines() for name, text in files.items()}
    assert {name: len(rows) - 1 for name, rows in lines.items()} == {
        "CoLA.tsv": 1063, "SST-2.tsv": 1821, "MRPC.tsv": 1725, "STS-B.tsv": 1379,
        "MNLI-m.tsv": 9796, "MNLI-mm.tsv": 9847, "QNLI.tsv": 5463, "QQP.tsv": 390965,
        "RTE.tsv": 3000, "WNLI.tsv": 146, "AX.tsv": 1104,
    }  # fmt: skip
    assert all(rows[0] == "index\tprediction" for rows in lines.values())
    last = {name: rows[1] for name, rows in lines.items()}
    assert last["AX.tsv"] == "0\tcontradiction"
    assert last["RTE.tsv"] == "0\tnot_entailment"
    assert last["STS-B.tsv"] == "0\t3.694"
    assert last["CoLA.tsv"] == "0\t1"


def test_a_bundle_of_too_few_rows_is_refused(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "glue")["rte"]
    with pytest.raises(InputError, match=r"RTE.tsv: 3 predictions, but the leaderboard takes 3000"):
        GLUE.bundle({"glue/rte": solvers.solve(task, solvers.constant(0))})


def test_test_rows_without_answers_are_answered_and_not_scored(
    fixtures: Path, solvers: Any
) -> None:
    task = opened(fixtures / "glue", tasks=["cola"], split="test")["cola"]
    found = solvers.solve(task, solvers.constant(1))
    assert [j.output for j in found.judged] == ["1", "1"]
    assert solvers.scores(found).scores == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["cloa"]}, "unknown task 'cloa'|did you mean 'cola'"),
        ({"tasks": ["rte"], "split": "test"}, "no file of rte here; looked for RTE/test.tsv[.]$"),
    ],
)
def test_wrong_options_are_named(fixtures: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(fixtures / "glue", **options)


def test_a_short_row_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "RTE").mkdir()
    (tmp_path / "RTE" / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\ta\tb\n")
    with pytest.raises(InputError, match=r"RTE/dev.tsv, line 2: 3 columns where 4 are expected"):
        opened(tmp_path)["rte"].examples()


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("score", "much", "line 2: the score is 'much'; it must be a number from 0 to 5"),
        ("score", "nan", "line 2: the score is 'nan'; it must be a number from 0 to 5"),
        ("score", "5.5", "line 2: the score is '5.5'; it must be a number from 0 to 5"),
        ("index", "one", "line 2: 'index' must be a whole number, not 'one'"),
    ],
)
def test_a_cell_that_is_no_number_names_file_and_line(
    fixtures: Path, tmp_path: Path, column: str, cell: str, message: str
) -> None:
    head, row, *_ = (fixtures / "glue" / "STS-B" / "dev.tsv").read_text().split("\n")
    cells = row.split("\t")
    cells[head.split("\t").index(column)] = cell
    (tmp_path / "STS-B").mkdir()
    (tmp_path / "STS-B" / "dev.tsv").write_text("\n".join([head, "\t".join(cells), ""]))
    (task,) = opened(tmp_path).values()
    with pytest.raises(InputError, match=f"STS-B/dev.tsv, {message}"):
        task.examples()


def test_a_lone_dev_file_is_taken_for_no_task(fixtures: Path) -> None:
    assert opened(fixtures / "glue" / "RTE") == {}


def test_the_hub_copy_gives_the_same_example(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hub(name: str, split: str) -> list[Row]:
        asked.append((name, split))
        texts = ("The ferry leaves at nine every morning.", "There is a ferry in the morning.")
        return [Row("r", {"premise": texts[0], "hypothesis": texts[1], "label": 0, "idx": 0})]

    monkeypatch.setattr("brulee.evaluation.suites.glue.read_hub", hub)
    local = opened(fixtures / "glue")["mnli-m"].examples(1)
    assert opened(None, tasks=["mnli-m"])["mnli-m"].examples() == local
    assert asked == [("nyu-mll/glue:mnli", "validation_matched")]


@REAL
def test_constant_answers_score_the_published_majority_baseline_on_mrpc(solvers: Any) -> None:
    tasks = opened(Path(os.environ["BRULEE_REAL_DATA"]) / "glue")
    assert set(tasks) == {"cola", "mrpc", "stsb"}
    found = solvers.values(tasks["mrpc"], solvers.constant(1))
    assert found == pytest.approx({"f1": 0.799, "accuracy": 0.665}, abs=5e-4)
    assert solvers.values(tasks["cola"], solvers.constant(1)) == {"matthews": 0.0}
    assert len(tasks["cola"].examples()) == 1043
    assert len(tasks["stsb"].examples()) == 1500


@REAL
def test_gold_answers_score_100_on_the_published_files(solvers: Any) -> None:
    folder = Path(os.environ["BRULEE_REAL_DATA"]) / "glue"
    for name, task in opened(folder, prompt="text-to-text").items():
        found = solvers.values(task, solvers.gold)
        assert found.pop("invalid") == 0.0
        assert found == pytest.approx(dict.fromkeys(ENTRIES[name].scores, 1.0))


@REAL
def test_correlations_of_many_equal_numbers_are_scipys(solvers: Any) -> None:
    from scipy.stats import pearsonr, spearmanr

    task = opened(Path(os.environ["BRULEE_REAL_DATA"]) / "glue")["stsb"]
    grades = [float(example.references[0]) for example in task.examples()]
    whole = [round(grade) for grade in grades]
    assert (len(set(grades)), len(set(whole))) == (78, 6)

    def solver(example: Any) -> Reply:
        return solvers.choosing([round(float(example.references[0]))], len(example.choices))

    found = solvers.values(task, solver)
    given = [float(task.judge(e, solver(e)).output) for e in task.examples()]
    assert found["pearson"] == pytest.approx(pearsonr(given, grades).statistic, abs=1e-12)
    assert found["spearman"] == pytest.approx(spearmanr(given, grades).statistic, abs=1e-12)
