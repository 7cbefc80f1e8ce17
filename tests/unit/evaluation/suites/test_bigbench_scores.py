"""Prompts and scores are those of the package `bigbench` 1.0.0.

The expected values are those of its own test_task_metrics.py; benchmarks/bigbench_files.py compares
all of its task files with the package itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation.suites.bigbench_chosen import Chosen, pick
from brulee.evaluation.suites.bigbench_prompt import ask, write
from brulee.evaluation.suites.bigbench_schema import JsonTask
from brulee.evaluation.suites.bigbench_written import Generated, Likely, extract

HEAD = {"canary": "", "name": "toy", "description": "", "keywords": []}


def task(metrics: Sequence[str], examples: Sequence[dict[str, Any]], **more: Any) -> JsonTask:
    preferred = "rougeLsum" if metrics[0] == "rouge" else metrics[0]
    values = {**HEAD, "metrics": list(metrics), "preferred_score": preferred}
    return JsonTask.model_validate({**values, "examples": list(examples), **more})


def score(judge: Any, statistics: Sequence[dict[str, list[float]]], key: str) -> float:
    mean = np.mean([one[key] for one in statistics], axis=0)
    return float(judge.reduce(key, mean, len(statistics)))


def generated(metric: str, targets: Sequence[list[str]], responses: Sequence[str]) -> Any:
    examples = [{"input": str(i), "target": t} for i, t in enumerate(targets)]
    toy = task([metric], examples, output_regex="(?s).*")
    judge = Generated(toy)
    found = [judge.judge(w, r)[1] for w, r in zip(write(toy), responses, strict=True)]
    return {key: score(judge, found, key) for key in judge.metrics}


SUMS = [
    {"input": "1 + 4 =", "target_scores": {"5": 1, "4": 0, "6": 0, "3": 0}, "target": "5 is it."},
    {"input": "4 + 9 =", "target_scores": {"13": 1, "4": 0, "6": 0, "3": 0}, "target": "13 is it."},
]


def test_choices_are_sorted_then_permuted_alike_in_every_example() -> None:
    toy = task(["multiple_choice_grade"], SUMS)
    first, second = write(toy)
    assert first.question == "\nQ: 1 + 4 =\n  choice: 4\n  choice: 6\n  choice: 3\n  choice: 5\nA: "
    assert second.question.count("choice") == 4
    assert first.choices == ("5", "4", "6", "3")


def test_shots_are_other_examples_and_end_in_the_separator() -> None:
    toy = task(["exact_str_match"], SUMS, few_shot_example_separator="\n##\n", task_prefix="Add.")
    for asked in ask(toy, 1):
        (shot,) = asked.shots
        other = write(toy)[1 - asked.written.number]
        assert shot == f"{other.question}{other.targets[0]}\n##\n"
    with pytest.raises(InputError, match="2 examples, too few for 2 shots"):
        ask(toy, 2)


def test_an_equal_example_is_a_shot_only_where_its_notes_differ() -> None:
    same, other = {"input": "1", "target": "one"}, {"input": "2", "target": "two"}
    noted = {**same, "comment": "again"}
    drawn = {
        asked.written.notes: asked.shots
        for asked in ask(task(["exact_str_match"], [same, noted]), 1)
    }
    assert drawn == {"": ("\nQ: 1\nA: one\n",), '{"comment": "again"}': ("\nQ: 1\nA: one\n",)}
    twins = task(["exact_str_match"], [same, {"input": "1", "target": ["one"]}, other])
    for asked in ask(twins, 1):
        if asked.written.question == "\nQ: 1\nA: ":
            assert asked.shots == ("\nQ: 2\nA: two\n",)


def test_a_limit_draws_the_examples_that_the_package_draws() -> None:
    toy = task(["exact_str_match"], [{"input": str(i), "target": "x"} for i in range(20)])
    drawn = [asked.written.number for asked in ask(toy, 0, 3)]
    assert drawn == list(np.random.RandomState(42).permutation(20)[:3])
    assert [asked.written.number for asked in ask(toy, 0)] == list(range(20))


def test_rouge_takes_the_best_reference_for_each_type() -> None:
    two = [["g f e d c b a", "a b e f"]]
    found = generated("rouge", two, ["a b c d e f g"])
    assert found["rouge1"] == pytest.approx(1.0)
    assert found["rouge2"] == pytest.approx(0.4444, abs=1e-4)
    assert found["rougeLsum"] == pytest.approx(0.7273, abs=1e-4)


def test_bleu_is_that_of_the_whole_corpus() -> None:
    targets = [["g f e d c b a", "a b c d e f g"], ["a b c d e f g"]]
    found = generated("bleu", targets, ["a b c d e f g", "a b c d f g"])
    assert found["bleu"] == pytest.approx(0.786, rel=0.01)  # the package's own tolerance


def test_matches_with_and_without_case() -> None:
    targets = [["g f e d c b a", "a b c d e f g"], ["d e"]]
    replies = ["a b c d e f g", "a b c d f g"]
    assert generated("exact_str_match", targets, replies) == {"exact_str_match": 0.5}
    shouted = ["a B c d E f g ", "a b c d f g"]
    assert generated("exact_str_match", targets, shouted) == {"exact_str_match": 0.0}
    assert generated("case_insensitive_str_match", targets, shouted) == {
        "case_insensitive_str_match": 0.5
    }


@pytest.mark.parametrize(
    ("target", "response", "right"),
    [
        ("100", "90", 1), ("100", "110", 1), ("100", "111", 0), ("100", "89", 0), ("0", "0", 1),
        ("0", "10", 0), ("100", "not a number", 0), ("-100", "-100", 1),
        ("-100", "5", 1),  # as published: every number passes for a negative target
    ],
)  # fmt: skip
def test_numbers_within_a_tenth_match(target: str, response: str, right: int) -> None:
    found = generated("numeric_match_with_0_1_relative_error", [[target]], [response])
    assert found == {"numeric_match_with_0_1_relative_error": right}


def test_sequence_labels_are_compared_place_by_place() -> None:
    assert generated("sequence_f1", [["A B O"]], ["A C"]) == {"sequence_f1": pytest.approx(2 / 3)}
    assert generated("sequence_f1", [["A B"]], ["A B C D"]) == {"sequence_f1": 1.0}


LOG_PROBABILITIES = [-0.1, -0.5, -3.0, -9.0]


def test_scores_of_choices_are_the_published_ones() -> None:
    half = [SUMS[0], {**SUMS[1], "target_scores": {"13": 0.5, "4": 0, "6": 0, "3": 0}}]
    metrics = ["multiple_choice_grade", "weighted_log_probabilities", "weighted_probabilities"]
    toy = task(metrics, half, absolute_normalization=True)
    judge = Chosen(toy)
    found = [judge.judge(w, LOG_PROBABILITIES)[1] for w in write(toy)]
    expected = {
        "multiple_choice_grade": 0.75,
        "calibration_multiple_choice_brier_score": 0.08217880533576256,
        "expected_calibration_error": 0.4204510049762008,
        "weighted_log_probabilities": -0.075,
        "weighted_probabilities": math.exp(-0.1) * 0.75,
    }
    assert {key: score(judge, found, key) for key in judge.metrics} == pytest.approx(expected)


def test_macro_f1_is_the_published_one_and_needs_one_right_choice() -> None:
    chances = [
        ("foo", 0.6, 0.3, 0.1), ("foo", 0.4, 0.4, 0.2), ("bar", 0.1, 0.7, 0.2),
        ("bar", 0.8, 0.1, 0.1), ("baz", 0.3, 0.2, 0.5), ("baz", 0.4, 0.3, 0.3),
    ]  # fmt: skip
    names = ("foo", "bar", "baz")
    examples = [
        {"input": str(i), "target_scores": {n: int(n == right) for n in names}}
        for i, (right, *_) in enumerate(chances)
    ]
    toy = task(["macro_f1"], examples)
    judge = Chosen(toy)
    # The package's test says 0.52222 of normalised numbers; a tie falls as their bytes do.
    found = [
        judge.judge(w, [math.log(p) for p in row[1:]])[1]
        for w, row in zip(write(toy), chances, strict=True)
    ]
    assert score(judge, found, "macro_f1") == pytest.approx(0.52222, abs=0.1)
    soft = [{"input": "0", "target_scores": {"foo": 0.5, "bar": 0.5, "baz": 0.0}, "target": "foo"}]
    with pytest.raises(InputError, match="macro_f1 needs one choice that scores 1"):
        Chosen(task(["macro_f1"], soft))


def test_a_tie_falls_the_same_way_every_time_and_not_always_first() -> None:
    picks = {pick(np.array([-value, -value])) for value in np.linspace(1, 2, 20)}
    assert picks == {0, 1}
    assert pick(np.array([-2.0, -1.0, -3.0])) == 1


def test_likelihood_sums_over_targets_and_a_lone_one_is_shared_out() -> None:
    several = task(["log_likelihood"], [{"input": "1", "target": ["5", "4", "6", "3"]}])
    judge = Likely(several)
    assert judge.metrics == ("log_likelihood",)
    found = judge.judge(write(several)[0], LOG_PROBABILITIES)
    assert found == ("5", {"log_likelihood": [pytest.approx(0.4455, abs=1e-4)]})
    lone = task(["log_likelihood"], [{"input": "1", "target": "two words"}])
    _, statistics = Likely(lone).judge(write(lone)[0], [-9.0])
    assert statistics == {
        "log_likelihood": [-9.0],
        "log_likelihood_per_word": [-4.5],
        "log_likelihood_per_char": [-1.0],
    }


@pytest.mark.parametrize(
    ("more", "text", "answer"),
    [
        ({}, "\nforty two. And more", "forty two"),
        ({"output_regex": r"\d+"}, "it is 42, or 43", "42"),
        ({"output_regex": r"([-+]?\d+)[.]{0,1}$"}, "so 42.", "42"),
        ({"output_regex": r"\d+"}, "none", ""),
        ({"output_regex": ""}, "All. Of it; as it is", "All. Of it; as it is"),
        ({"stop_string": "#"}, "Rg5# then", "Rg5#"),
        ({"stop_string": "\n"}, "\nRg5", "\nRg5"),  # at the very beginning it does not count
        ({"stop_string": "\n", "output_regex": r"\w+"}, "so\nmore", "so"),
    ],
)
def test_an_answer_is_found_as_published(more: dict[str, str], text: str, answer: str) -> None:
    toy = task(["exact_str_match"], [{"input": "", "target": "x"}], **more)
    judge = Generated(toy)
    assert extract(text, judge.stop, judge.pattern) == answer
