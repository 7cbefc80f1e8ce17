"""A task file scores as the harness does, and what it may not say is refused where it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.asking import Asked
from brulee.evaluation.scores import task_scores
from brulee.evaluation.suite_run import answered
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.harness import HarnessTask
from brulee.evaluation.suites.harness_config import FilterConfig, FilterStep
from brulee.evaluation.suites.harness_filters import build
from brulee.evaluation.tasks import Example, Reply, Suite, SuiteTask, TaskScores
from brulee.inference.engine import Likelihood

FIXTURE = Path(__file__).parents[3] / "fixtures" / "harness"
Solver = Callable[[Example], Reply]


def opened(name: str) -> tuple[Suite, list[SuiteTask]]:
    found = suite(str(FIXTURE / f"{name}.yaml"))
    return found, found.open(None, found.Options())


def scored(task: SuiteTask, solver: Solver) -> TaskScores:
    answers = []
    for example in task.examples():
        reply = solver(example)
        judged = task.judge(example, reply)
        answers.append(answered(task, Asked(example, (), (), None, 0), reply, judged))
    return task_scores(task, answers, 50)


def values(task: SuiteTask, solver: Solver) -> dict[str, float]:
    return {key: s.interval.value for key, s in scored(task, solver).scores.items()}


def picking(choose: Callable[[Example], int]) -> Solver:
    def solve(example: Example) -> Reply:
        right = choose(example)
        count = len(example.choices)
        return Reply(
            tuple(Likelihood(0.0 if i == right else -60.0, 1, i == right) for i in range(count))
        )

    return solve


GOLD = picking(lambda example: example.about["wanted"].gold[0])
FIRST = picking(lambda _: 0)


def test_gold_choices_score_one_and_a_constant_one_its_share() -> None:
    _, (task,) = opened("choices")
    assert values(task, GOLD) == pytest.approx(
        {"acc": 1.0, "acc_norm": 1.0, "mcc": 1.0, "brier_score": 0.0}
    )
    constant = values(task, FIRST)
    assert constant["acc"] == 0.5  # two of four
    assert constant["mcc"] == 0.0
    assert constant["brier_score"] == pytest.approx(1.0)  # 2 where wrong, 0 where right
    assert not task.higher_is_better("brier_score")


def test_acc_norm_divides_by_the_length_of_the_choice_without_its_delimiter() -> None:
    _, (task,) = opened("choices")
    example = task.examples()[0]  # bread, shoes, roofs: equal lengths
    uneven = task.examples()[3]  # in water, in trees, in ovens
    assert {len(choice) for choice in example.choices} == {6}
    likely = Reply(tuple(Likelihood(v, 1, False) for v in (-8.0, -7.9, -9.0)))
    assert task.judge(uneven, likely).statistics["acc"] == [0.0]
    assert task.judge(uneven, likely).statistics["acc_norm"] == [0.0]
    much = Reply(tuple(Likelihood(v, 1, False) for v in (-8.0, -8.0, -9.0)))
    assert task.judge(uneven, much).statistics["acc_norm"] == [1.0]


def test_written_answers_pass_each_filter() -> None:
    _, (task,) = opened("sums")
    first, last = "exact_match,first-number", "exact_match,voted"
    gold = values(task, lambda example: Reply(text=f" ${example.references[0]}."))
    assert gold == {first: 1.0, last: 1.0}
    both = values(task, lambda example: Reply(text=f" {example.references[0]}, not 7"))
    assert both == {first: 1.0, last: 0.0}
    assert values(task, lambda _: Reply(text="none")) == {first: 0.0, last: 0.0}


def test_the_last_word_is_scored_by_perplexity_and_greed() -> None:
    _, (task,) = opened("last_word")
    reply = Reply((Likelihood(-math.log(4), 2, True),))
    assert values(task, lambda _: reply) == pytest.approx({"perplexity": 4.0, "acc": 1.0})
    assert not task.higher_is_better("perplexity")


@pytest.mark.parametrize("name", ["last_word", "prose"])
def test_the_perplexity_of_a_token_that_is_never_written_is_finite(name: str) -> None:
    _, (task,) = opened(name)
    replies = iter([-1e4, *[-2.0] * 100])
    found = scored(task, lambda _: Reply((Likelihood(next(replies), 1, False),))).scores
    assert all(math.isfinite(bound) for one in found.values() for bound in one.interval[:3])


def test_prose_is_scored_per_word_and_per_byte() -> None:
    _, (task,) = opened("prose")
    texts = [example.choices[0] for example in task.examples()]
    found = values(task, lambda _: Reply((Likelihood(-12.0, 5, False),)))
    words, size = sum(len(t.split()) for t in texts), sum(len(t.encode()) for t in texts)
    assert found == pytest.approx(
        {
            "word_perplexity": math.exp(36 / words),
            "byte_perplexity": math.exp(36 / size),
            "bits_per_byte": 36 / size / math.log(2),
        }
    )


def test_a_group_averages_its_tasks_over_items_or_over_tasks() -> None:
    group, tasks = opened("group")
    assert [task.name for task in tasks] == ["toy_choices", "toy_drawn"]
    assert len(tasks[1].examples()[0].shots) == 1  # what the group says goes before the file
    found = {task.name: scored(task, FIRST) for task in tasks}
    averages = {(a.task, a.metric): a for a in group.aggregates(found)}
    assert averages["toy_group", "acc"].interval.value == 0.5
    assert averages["toy_group", "acc_norm"].tasks == 2


def open_group(folder: Path, *entries: Any) -> tuple[Suite, list[SuiteTask]]:
    open_changed(folder)
    file = folder / "group.yaml"
    averages = [{"metric": "exact_match"}]
    group = {"group": "g", "task": list(entries), "aggregate_metric_list": averages}
    file.write_text(json.dumps(group, indent=1), encoding="utf-8")
    found = suite(str(file))
    return found, found.open(None, found.Options())


def test_a_task_of_several_groups_is_asked_once(tmp_path: Path) -> None:
    inner = {"group": "inner", "task": ["toy", {**TASK, "task": "inline"}, "toy"]}
    group, tasks = open_group(tmp_path, "toy", inner)
    assert [task.name for task in tasks] == ["toy", "inline"]
    (average,) = group.aggregates({task.name: scored(task, lambda _: Reply()) for task in tasks})
    assert (average.task, average.tasks) == ("g", 2)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"task": "toy", "doc_to_text": "other"}, "group.yaml: two tasks are called toy"),
        ({"description": "D"}, "group.yaml, line 3: an entry must name its task"),
    ],
)
def test_what_is_wrong_with_a_group_is_named(
    tmp_path: Path, entry: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_group(tmp_path, "toy", entry)


def test_shots_can_be_set_from_outside() -> None:
    found = suite(str(FIXTURE / "choices.yaml"))
    (task,) = found.open(None, found.Options(num_fewshot=0))
    assert task.examples()[0].shots == ()


TASK = {
    "task": "toy",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "doc_to_text": "{{text}}",
    "doc_to_target": "{{label}}",
}


def open_changed(folder: Path, **changed: Any) -> list[SuiteTask]:
    file = folder / "toy.yaml"
    # JSON is YAML too, and each key has a line of its own.
    file.write_text(json.dumps({**TASK, **changed}, indent=1), encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"text": "a", "label": "x"}\n', encoding="utf-8")
    found = suite(str(file))
    return found.open(None, found.Options())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"doc_to_txt": "x"}, "line 12: unknown key 'doc_to_txt'; did you mean 'doc_to_text'"),
        ({"process_docs": "u.f"}, "line 12: process_docs is not supported"),
        ({"output_type": "multiple_choice"}, "multiple_choice needs doc_to_choice"),
        ({"metric_list": [{"metric": "exact_mach"}]}, "did you mean 'exact_match'"),
        (
            {"metric_list": [{"metric": "exact_match", "aggregation": "median"}]},
            "aggregation median is not supported",
        ),
        (
            {"metric_list": [{"metric": "exact_match", "ignore_cases": True}]},
            "did you mean 'ignore_case'",
        ),
        (
            {"filter_list": [{"name": "f", "filter": [{"function": "regexp"}]}]},
            "did you mean 'regex'",
        ),
        (
            {"generation_kwargs": {"do_sample": True, "temperature": 0.7}},
            "line 12: sampled answers are not supported",
        ),
        (
            {"generation_kwargs": {"temperature": 0.7}},
            "line 12: sampled answers are not supported",
        ),
        ({"generation_kwargs": {"num_beams": 4}}, "generation_kwargs.num_beams = 4 is not valid"),
        ({"generation_kwargs": {"repetition_penalty": 2.0}}, "unknown key.*repetition_penalty"),
        ({"num_fewshot": -3}, "line 12: num_fewshot = -3 is not valid"),
        (
            {"filter_list": [{"name": "f", "filter": [{"function": "take_first_k", "k": 0}]}]},
            "filter f: take_first_k needs a number k, 1 or more",
        ),
        (
            {
                "filter_list": [
                    {"name": "f", "filter": [{"function": "regex", "group_select": None}]}
                ]
            },
            "filter f: group_select is the number of a match, not None",
        ),
        (
            {"metric_list": [{"metric": "exact_match", "regexes_to_ignore": [5]}]},
            r"regexes_to_ignore is a list of texts, not \[5\]",
        ),
        ({"dataset_kwargs": {"data_files": {"test": "none.jsonl"}}}, "none.jsonl: no such file"),
        (
            {"dataset_kwargs": {"data_files": {"test": []}}},
            r"toy: data_files test is \[\]; the name",
        ),
        ({"dataset_kwargs": {"data_files": {"test": ""}}}, "toy: data_files test is ''; the name"),
        ({"test_split": "tset"}, "did you mean 'test'"),
        ({"doc_to_text": "{{txt}}"}, "line 1: doc_to_text: unknown column 'txt'.*'text'"),
        (
            {"doc_to_text": "{% for %}"},
            r"/toy.yaml, with .*rows.jsonl, line 1: doc_to_text is not a valid template",
        ),
        ({"num_fewshot": 5}, "num_fewshot is 5, but only 1 rows"),
        ({"doc_to_text": "1", "doc_to_choice": ["x", "y"]}, "each choice has its own context"),
        ({"doc_to_text": 1}, "line 1: doc_to_text gives the number 1, not a text"),
        ({"num_fewshot": 1, "fewshot_split": "test"}, "num_fewshot is 1, but only 0 rows"),
        (
            {
                "num_fewshot": 1,
                "fewshot_config": {"sampler": "first_n", "split": "test"},
            },
            "num_fewshot is 1, but only 0 rows",
        ),
        (
            {
                "doc_to_text": "text",
                "num_fewshot": 1,
                "fewshot_config": {"samples": [{"txt": "b", "label": "y"}]},
            },
            "toy: fewshot_config.samples 1: unknown column 'text'; did you mean 'txt'",
        ),
        (
            {"dataset_path": "rows.jsonl"},
            "dataset_kwargs.data_files is not supported with dataset_path rows.jsonl",
        ),
        (
            {"dataset_path": "rows.jsonl", "dataset_kwargs": {}},
            "rows.jsonl: no split 'test', and one file has no splits; name a folder",
        ),
        ({"dataset_kwargs": {"data_file": "a"}}, "did you mean 'data_files'"),
        ({"dataset_kwargs": None}, "dataset_path json needs dataset_kwargs.data_files"),
        ({"test_split": None}, "toy: it names neither test_split nor validation_split"),
        ({"doc_to_target": "[]"}, "line 1: doc_to_target gives no answer"),
        (
            {"filter_list": [{"name": "f", "filter": [{"function": "map"}]}]},
            "filter f: map needs a mapping_dict",
        ),
        (
            {"filter_list": [{"name": "f", "filter": [{"function": "take_first", "k": 1}]}]},
            r"unknown option of take_first 'k'.*\(none\)",
        ),
        (
            {
                "filter_list": [
                    {"name": "f", "filter": [{"function": "regex", "regex_pattern": "("}]}
                ]
            },
            r"filter f: '\(' is not a regular expression: missing \)",
        ),
        (
            {"metric_list": [{"metric": "exact_match", "regexes_to_ignore": ["("]}]},
            r"toy: '\(' is not a regular expression: missing \)",
        ),
        ({"include": "none.yaml"}, "none.yaml: no such file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    def asked() -> None:
        for task in open_changed(tmp_path, **changed):
            task.examples()

    with pytest.raises(InputError, match=words):
        asked()


@pytest.mark.parametrize(("answer", "gold"), [("1", 1), ("\u00b2", 0), ("02", 0)])
def test_only_the_index_of_a_choice_is_a_number(tmp_path: Path, answer: str, gold: int) -> None:
    choices = [answer if gold == 0 else "x", "y", "z"]
    asked = {"output_type": "multiple_choice", "doc_to_choice": choices}
    (task,) = open_changed(tmp_path, **asked, doc_to_text=f"{answer}?", doc_to_target=answer)
    assert task.examples()[0].about["wanted"].gold == (gold,)


def test_a_reply_that_a_map_does_not_have_is_no_answer(tmp_path: Path) -> None:
    mapped = {"name": "m", "filter": [{"function": "map", "mapping_dict": {"A": "None", "B": 7}}]}
    (task,) = open_changed(tmp_path, filter_list=[mapped], doc_to_target="None")
    assert values(task, lambda _: Reply(text="A")) == {"exact_match,m": 1.0}
    assert values(task, lambda _: Reply(text="C")) == {"exact_match,m": 0.0}


@pytest.mark.parametrize(
    ("chosen", "found"), [(0, "1"), (1, "2"), (2, "none"), (-1, "2"), (-2, "1"), (-3, "none")]
)
def test_a_match_that_a_reply_does_not_have_falls_back(chosen: int, found: str) -> None:
    options = {"regex_pattern": r"\d", "group_select": chosen, "fallback": "none"}
    step = FilterStep.model_validate({"function": "regex", **options})
    assert build(FilterConfig(name="f", filter=[step]), "here")(["1 or 2"]) == [found]


@pytest.mark.parametrize(
    ("said", "longest"),
    [
        ({}, 256),
        ({"max_new_tokens": 16}, 16),
        ({"max_tokens": 8, "top_p": 0.9, "num_beams": 1}, 8),
        ({"max_completion_tokens": 4, "do_sample": False, "temperature": 1}, 4),
        ({"max_new_tokens": 16, "max_gen_toks": 32}, 32),
    ],
)
def test_every_name_of_the_longest_answer_counts(
    tmp_path: Path, said: dict[str, Any], longest: int
) -> None:
    (task,) = open_changed(tmp_path, generation_kwargs=said)
    assert task.generation is not None
    assert task.generation.max_new_tokens == longest


def test_no_patterns_to_ignore_are_none(tmp_path: Path) -> None:
    metrics = [{"metric": "exact_match", "regexes_to_ignore": None, "ignore_case": True}]
    (task,) = open_changed(tmp_path, metric_list=metrics)
    assert values(task, lambda _: Reply(text="X")) == {"exact_match": 1.0}


def test_code_is_refused_by_name_and_line_even_in_an_included_file(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("dataset_path: json\nprocess_docs: !function utils.clean\n", encoding="utf-8")
    file = tmp_path / "task.yaml"
    file.write_text("include: base.yaml\ntask: toy\n", encoding="utf-8")
    found = suite(str(file))
    with pytest.raises(InputError, match=r"base.yaml, line 2: !function utils.clean would run"):
        found.open(None, found.Options())


def test_a_group_says_why_a_member_cannot_run(tmp_path: Path) -> None:
    (tmp_path / "group.yaml").write_text("group: g\ntask: [toy]\n", encoding="utf-8")
    member = tmp_path / "toy.yaml"
    member.write_text("task: toy\nprocess_docs: !function utils.clean\n", encoding="utf-8")
    found = suite(str(tmp_path / "group.yaml"))
    with pytest.raises(InputError, match=r"toy.yaml, line 2: !function utils.clean would run"):
        found.open(None, found.Options())
    member.unlink()
    with pytest.raises(InputError, match="unknown task 'toy'"):
        found.open(None, found.Options())


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: b.yaml\ntask: a\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("include: a.yaml\n", encoding="utf-8")
    found = suite(str(tmp_path / "a.yaml"))
    with pytest.raises(InputError, match="includes itself"):
        found.open(None, found.Options())


def test_an_edited_prompt_of_a_task_file_has_another_wording() -> None:
    _, (task,) = opened("choices")
    assert isinstance(task, HarnessTask)
    config = task.task
    for key, text in (("doc_to_text", "other"), ("description", "Answer."), ("gen_prefix", "So:")):
        assert config.model_copy(update={key: text}).wording != task.wording
    assert config.model_copy(update={"task_alias": "other"}).wording == task.wording
