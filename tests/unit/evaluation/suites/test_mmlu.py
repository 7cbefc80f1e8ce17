"""The prompts are the published ones to the letter, and each average is what its name says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.mmlu_subjects import CATEGORIES, SUBJECTS
from brulee.evaluation.suites.rows import Row, read_hub

MMLU = suite("mmlu")
REAL = pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA not set")
TWO = ["astronomy", "prehistory"]


def opened(folder: Path, **options: Any) -> list[Any]:
    return MMLU.open(folder, MMLU.Options(**{"subjects": TWO, **options}))


def test_original_prompt_keeps_the_double_space_and_the_question_as_it_is(fixtures: Path) -> None:
    example = opened(fixtures / "mmlu")[0].examples()[3]
    assert example.preamble == (
        "The following are multiple choice questions (with answers) about  astronomy.\n\n"
    )
    assert example.shots[0] == (
        "Which body is nearest to the Sun?\nA. Venus\nB. Mercury\nC. Mars\nD. the Moon\n"
        "Answer: B\n\n"
    )
    assert example.question == (
        " Which planet turns on its side?\nA. Mars\nB. Venus\nC. Earth\nD. Uranus\nAnswer:"
    )
    assert example.choices == (" A", " B", " C", " D")
    assert len(example.shots) == 5


def test_harness_prompt_has_one_space_and_a_stripped_question(fixtures: Path) -> None:
    example = opened(fixtures / "mmlu", prompt="harness")[0].examples()[3]
    assert "about astronomy.\n\n" in example.preamble
    assert example.question.startswith("Which planet turns")


def test_micro_counts_questions_and_macro_counts_subjects(fixtures: Path, solvers: Any) -> None:
    tasks = opened(fixtures / "mmlu")
    scored = solvers.score_all(tasks, solvers.constant(1))  # right: 1 of 4, 1 of 3
    found = {(a.task, a.metric): a for a in MMLU.aggregates(scored)}
    assert found["mmlu", "accuracy_micro"].interval.value == pytest.approx(2 / 7)
    assert found["mmlu", "accuracy_macro"].interval.value == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert found["mmlu/stem", "accuracy_micro"].interval.value == pytest.approx(1 / 4)
    assert found["mmlu", "accuracy_micro"].interval.n == 7
    assert found["mmlu", "accuracy_micro"].label.endswith("only 2 of 57 tasks")


def test_gold_answers_score_one_on_every_subject(fixtures: Path, solvers: Any) -> None:
    for task in opened(fixtures / "mmlu"):
        assert solvers.values(task, solvers.gold) == {"accuracy": 1.0}


def test_there_are_57_subjects_in_four_categories() -> None:
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 57
    assert {c: len(s) for c, s in CATEGORIES.items()} == {
        "stem": 18,
        "humanities": 13,
        "social sciences": 12,
        "other": 14,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subjects": ["astronmy"]}, "did you mean 'astronomy'"),
        ({"split": "val"}, "no folder val; it has test"),
    ],
)
def test_wrong_options_are_named(fixtures: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(fixtures / "mmlu", **options)


def test_an_answer_that_is_no_letter_names_file_and_line(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"astronomy_{split}.csv").write_text("q,a,b,c,d,A\nq,a,b,c,d,E\n")
    (task, _) = opened(tmp_path, shots=1)
    with pytest.raises(InputError, match=r"astronomy_test.csv, line 2: the answer is 'E'"):
        task.examples()


def test_the_hub_copy_gives_the_same_examples(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (local, _) = opened(fixtures / "mmlu")
    asked = []

    def hub(name: str, split: str) -> list[Row]:
        asked.append((name, split))
        file = fixtures / "mmlu" / split / f"astronomy_{split}.csv"
        lines = [line.replace('"', "").rsplit(",", 5) for line in file.read_text().splitlines()]
        return [
            Row("row", {"question": q, "choices": list(cs), "answer": "ABCD".index(letter)})
            for q, *cs, letter in lines
        ]

    monkeypatch.setattr("brulee.evaluation.suites.mmlu.read_hub", hub)
    (task, _) = MMLU.open(None, MMLU.Options(subjects=TWO))
    assert task.examples(2) == local.examples(2)
    assert asked == [("cais/mmlu:astronomy", "test"), ("cais/mmlu:astronomy", "dev")]


@REAL
def test_the_published_files_hold_all_subjects() -> None:
    folder = Path(os.environ["BRULEE_REAL_DATA"]) / "mmlu"
    tasks = MMLU.open(folder, MMLU.Options())
    counts = [len(task.examples()) for task in tasks]
    assert len(counts) == 57
    assert sum(counts) == 1531


def test_a_hub_out_of_reach_is_told_with_the_way_round_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("brulee.data.hub._reachable", lambda _: False)
    with pytest.raises(InputError, match=r"cannot be reached; .* official files: --data DIR, or"):
        read_hub("cais/mmlu:anatomy", "test")
