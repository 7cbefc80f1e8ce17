"""HELM: every scenario read from its files, solved by rule, and scored on all measures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation.answers import Answer
from brulee.evaluation.scores import task_scores
from brulee.evaluation.stats import Interval
from brulee.evaluation.suites.helm import HELM, Options, harms
from brulee.evaluation.suites.helm.scenarios import SCENARIOS
from brulee.evaluation.tasks import Example, Reply, Scored, SuiteTask, TaskScores
from brulee.inference.engine import Likelihood

DATA = Path(__file__).parents[3] / "fixtures" / "helm"
SUBJECTS = ["abstract_algebra", "us_foreign_policy"]
# Instances of each fixture that are asked.
ASKED = {
    "mmlu/abstract_algebra": 5, "mmlu/us_foreign_policy": 3, "boolq": 3, "narrativeqa": 2,
    "naturalquestions-closed": 4, "naturalquestions-open": 4, "quac": 2, "hellaswag": 3,
    "openbookqa": 3, "truthfulqa": 8, "msmarco-regular": 2, "msmarco-trec": 1, "cnn-dm": 2,
    "xsum": 2, "imdb": 4, "civil-comments/all": 4, "raft/overruling": 16,
    "raft/twitter_complaints": 12,
}  # fmt: skip

Solver = Callable[[Example], Reply]


def tasks(**options: Any) -> dict[str, SuiteTask]:
    found = HELM().open(DATA, Options(subjects=SUBJECTS, **options))
    return {task.name.removeprefix("helm/"): task for task in found}


def likely(example: Example, picked: int, sure: float = 0.9) -> Reply:
    """Choices of which one has that probability, the others sharing the rest."""
    rest = (1 - sure) / max(len(example.choices) - (picked >= 0), 1)
    shares = [sure if i == picked else rest for i in range(len(example.choices))]
    return Reply(tuple(Likelihood(float(np.log(p)), 1, p == sure) for p in shares))


def right_choice(example: Example) -> int:
    passage = re.search(r"#(\d+)$", example.id)
    if passage and example.choices == (" Yes", " No"):
        return int(int(passage[1]) not in example.about["right"])
    if example.about["kind"] == "labels":
        return example.choices.index(f" {example.references[0]}")
    return int(example.about["right"][0])


def reference(example: Example) -> Reply:
    """Always right."""
    if example.question == "Answer:":  # without a question, no option is likelier
        return likely(example, -1, 0.0)
    if example.choices:
        return likely(example, right_choice(example))
    return Reply(text=f" {example.references[0]}")


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_draws_from_a_file_that_is_sorted_by_label(limit: int) -> None:
    task = tasks()["imdb"]
    every = list(dict.fromkeys(e.cluster for e in task.examples()))
    np.random.seed(0)
    wanted = sorted(np.random.choice(len(every), limit, replace=False))  # HELM's own lines
    found = dict.fromkeys(e.cluster for e in task.examples(limit))
    assert list(found) == [every[i] for i in wanted]


def solved(task: SuiteTask, solver: Solver, limit: int | None = None) -> dict[str, float]:
    return {
        key: float(task.reduce(key, s.mean(0), len(s))) for key, s in stats(task, solver, limit)
    }


def stats(
    task: SuiteTask, solver: Solver, limit: int | None = None
) -> list[tuple[str, np.ndarray[Any, Any]]]:
    examples = task.examples(limit)
    joined = task.join(examples, [task.judge(e, solver(e)) for e in examples])
    found = []
    for key in task.metrics:
        rows = [one.statistics[key] for one in joined if key in one.statistics]
        if rows:
            found.append((key, np.array(rows)))
    return found


@pytest.mark.parametrize("name", ASKED)
def test_the_right_answers_score_100_and_no_wording_hurts_them(name: str) -> None:
    task = tasks()[name]
    scores = solved(task, reference)
    assert scores[task.metrics[0]] == 1.0
    if SCENARIOS[name.split("/")[0]].perturbed:
        assert scores["robustness"] == scores["fairness"] == 1.0
        assert scores[f"{task.metrics[0]}[mild-mix]"] == 1.0
    else:
        assert "robustness" not in task.metrics
    assert set(scores) <= set(task.metrics)


@pytest.mark.parametrize("name", ASKED)
def test_every_instance_is_asked_and_counts_once(name: str) -> None:
    task = tasks()[name]
    ((main, rows), *_) = stats(task, reference)
    assert main == task.metrics[0]
    assert len(rows) == ASKED[name]
    examples = task.examples()
    assert len({e.id for e in examples}) == len(examples)
    assert len({e.cluster for e in examples}) == ASKED[name]
    assert len({e.cluster for e in task.examples(1)}) == 1


def test_all_16_scenarios_are_in_the_fixture() -> None:
    names = {name.split("/")[0] for name in tasks()}
    assert names == set(SCENARIOS)
    assert len(SCENARIOS) == 16


def test_constant_answers_score_the_share_of_their_label() -> None:
    def yes(example: Example) -> Reply:
        return likely(example, 0) if example.choices else Reply(text="Yes")

    boolq = solved(tasks()["boolq"], yes)
    assert boolq["quasi_exact_match"] == boolq["robustness"] == pytest.approx(2 / 3)
    assert solved(tasks()["mmlu/abstract_algebra"], yes)["exact_match"] == pytest.approx(1 / 5)
    # All passages answered Yes alike keep their order: the judged one first.
    assert solved(tasks()["msmarco-regular"], yes)["rr@10"] == 1.0


def test_an_answer_lost_under_one_wording_costs_the_worst_case_only() -> None:
    def fragile(example: Example) -> Reply:
        wrong = example.about["perturbation"] == "dialect" and example.cluster == "0"
        return Reply(text="?") if wrong and not example.choices else reference(example)

    scores = solved(tasks()["boolq"], fragile)
    assert scores["quasi_exact_match"] == scores["robustness"] == 1.0
    assert scores["fairness"] == scores["quasi_exact_match[dialect]"] == pytest.approx(2 / 3)


def test_a_wording_that_changes_nothing_is_not_asked_again() -> None:
    asked = {(e.cluster, e.about["perturbation"]) for e in tasks()["boolq"].examples()}
    assert ("1", "first-names") not in asked
    assert ("2", "first-names") in asked
    assert ("2", "gender-pronouns") in asked


def test_labels_are_never_reworded_and_options_are() -> None:
    for example in tasks()["imdb"].examples():
        assert example.references[0] in ("Positive", "Negative")
    hellaswag = {e.id: e for e in tasks()["hellaswag"].examples()}
    assert hellaswag["2"].choices[1] == " throws the pot at his friend."
    assert hellaswag["2~gender-pronouns"].choices[1] == " throws the pot at her friend."
    assert hellaswag["2~mild-mix"].choices == hellaswag["2"].choices


def test_confidence_is_measured_where_answers_are_chosen_or_labels() -> None:
    # 90 % sure and always right: off by 0.1 in every bin, nothing once scaled.
    for name in ("mmlu/abstract_algebra", "hellaswag", "imdb"):
        scores = solved(tasks()[name], reference)
        assert scores["ece_10_bin"] == pytest.approx(0.1)
        assert scores["ece_1_bin"] == pytest.approx(0.1)
        assert scores["platt_ece_10_bin"] == 0.0
        assert scores["selective_acc@10"] == 1.0
        assert scores["selective_area"] == pytest.approx(1.0)
    for name in ("narrativeqa", "msmarco-regular", "xsum"):
        assert "ece_10_bin" not in tasks()[name].metrics
    assert "ece_10_bin" not in tasks(confidence=False)["imdb"].metrics


def test_bias_and_toxicity_are_those_of_what_was_written() -> None:
    def says(text: str) -> Solver:
        return lambda _: Reply(text=text)

    task = tasks()["narrativeqa"]
    balanced = solved(task, says("She met him and his sister."))
    assert balanced["bias_gender_representation"] == 0.0
    assert "bias_race_representation" not in balanced
    one_sided = solved(task, says("He is a doctor, you idiot."))
    assert one_sided["bias_gender_representation"] == 0.5
    assert one_sided["bias_gender_profession"] == 0.5
    assert one_sided["toxic_share_lexicon"] == 1.0
    assert balanced["toxic_share_lexicon"] == 0.0
    assert not task.higher_is_better("toxic_share_lexicon")
    assert not task.higher_is_better("bias_gender_profession")
    assert not task.higher_is_better("ece_10_bin")
    assert task.higher_is_better("robustness")


@pytest.mark.parametrize(("mentions", "excludes_balance"), [(4, False), (40, True)])
def test_bias_that_chance_gives_does_not_exclude_balance(
    mentions: int, excludes_balance: bool
) -> None:
    """Of four answers with "he" alone, all are of one group in one balanced test of eight."""
    outputs = ["He is a doctor."] * mentions + ["The sky is blue."] * 4
    answers = [
        Answer(str(i), "helm/narrativeqa", "", output, ("",), {}, counted, 1)
        for i, (output, counted) in enumerate(
            zip(outputs, harms.bias_statistics(outputs), strict=True)
        )
    ]
    found = task_scores(tasks()["narrativeqa"], answers, 500).scores
    for key in ("bias_gender_representation", "bias_gender_profession"):
        score = found[key].interval
        assert score.value == 0.5
        assert (score.low > 0) == excludes_balance


def test_perturbations_can_be_chosen_or_left_out() -> None:
    plain = tasks(perturb=["none"])["hellaswag"]
    assert "robustness" not in plain.metrics
    assert len(plain.examples()) == 3
    some = tasks(perturb=["lowercase", "gender-terms"])["hellaswag"]
    assert "exact_match[lowercase]" in some.metrics
    with pytest.raises(InputError, match="unknown perturbation 'loud'"):
        tasks(perturb=["loud"])


def test_parts_are_averaged_and_missing_ones_are_said() -> None:
    scored = {
        f"helm/{name}": TaskScores(task, {key: _scored(value) for key, value in
                                          solved(task, reference).items()})
        for name, task in tasks().items() if name.startswith(("mmlu", "raft", "boolq"))
    }  # fmt: skip
    averages = {(a.task, a.metric): a for a in HELM().aggregates(scored)}
    assert {task for task, _ in averages} == {"helm/mmlu", "helm/raft"}
    mmlu = averages["helm/mmlu", "exact_match"]
    assert mmlu.interval.value == 1.0
    assert "only 2 of 5" in mmlu.label
    assert averages["helm/raft", "robustness"].of == 11


def _scored(value: float) -> Scored:
    return Scored(Interval(value, value, value, 1), np.array([[value]]), np.full(10, value), 1)


def test_only_the_scenarios_of_the_folder_are_opened_and_a_missing_one_is_named(
    tmp_path: Path,
) -> None:
    shutil.copytree(DATA / "boolq", tmp_path / "boolq")
    assert [t.name for t in HELM().open(tmp_path, Options())] == ["helm/boolq"]
    with pytest.raises(InputError, match=r"no folder quac for helm's scenarios"):
        HELM().open(tmp_path, Options(scenarios=["boolq", "quac"]))
    with pytest.raises(InputError, match=r"unknown scenario of helm 'bolq'.*'boolq'"):
        HELM().open(tmp_path, Options(scenarios=["bolq"]))
    with pytest.raises(InputError, match="no such folder"):
        HELM().open(tmp_path / "none", Options())


def test_a_toxicity_scorer_can_be_named() -> None:
    named = tasks(toxicity="brulee.evaluation.toxicity:LexiconScorer")["quac"]
    assert named.metrics == tasks()["quac"].metrics
    with pytest.raises(InputError, match="toxicity scorer 'nothing'"):
        tasks(toxicity="nothing")
