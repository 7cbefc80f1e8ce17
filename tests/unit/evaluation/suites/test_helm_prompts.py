"""HELM's prompts: one text of every format, word for word, and what shots are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from brulee.evaluation.suites.helm import HELM, Options
from brulee.evaluation.suites.helm.formats import Joint, Rank, Write
from brulee.evaluation.suites.helm.instance import Instance, open_question
from brulee.evaluation.suites.helm.shots import draw_shots
from brulee.evaluation.tasks import Example, SuiteTask

DATA = Path(__file__).parents[3] / "fixtures" / "helm"
SUBJECTS = ["abstract_algebra", "us_foreign_policy"]


def tasks(**options: Any) -> dict[str, SuiteTask]:
    chosen = Options(subjects=SUBJECTS, **options)
    return {task.name: task for task in HELM().open(DATA, chosen)}


def first(name: str, **options: Any) -> Example:
    return tasks(perturb=["none"], **options)[name].examples()[0]


def test_write() -> None:
    example = first("helm/boolq", shots=1)
    assert example.shots == (
        "Passage: The bridge stood through the war and fell ten years later.\n"
        "Question: Did the bridge fall before the war?\nAnswer: No\n\n",
    )
    assert example.question == (
        "Passage: The library is open from Monday to Saturday. Josh, who runs it, spends his "
        "Sundays with his father.\nQuestion: Is the library open on sundays?\nAnswer:"
    )
    assert example.references == ("No",)
    assert not example.choices


def test_joint_shows_instructions_and_options() -> None:
    example = first("helm/mmlu/abstract_algebra")
    assert example.preamble == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    )
    assert len(example.shots) == 5
    assert (
        "Question: What is 2 + 2 in the integers modulo 3?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: B\n\n"
    ) in example.shots
    assert example.question == (
        "Question: What is 3 * 3 in the integers modulo 5?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )
    assert example.choices == (" A", " B", " C", " D")
    assert example.references == ("4",)


def test_separate_has_options_as_choices_and_no_shots() -> None:
    example = first("helm/hellaswag")
    assert example.context() == "Washing a car: A man sprays his car with a hose. He"
    assert example.choices[1] == " rubs it with a soapy sponge."


def test_calibrated_options_are_also_asked_for_by_themselves() -> None:
    asked, alone = tasks(perturb=["none"])["helm/openbookqa"].examples()[:2]
    assert asked.context() == "The moon shines because it"
    assert alone.context() == "Answer:"
    assert asked.choices == alone.choices
    assert asked.cluster == alone.cluster


def test_separate_can_be_asked_jointly() -> None:
    example = first("helm/openbookqa", method="joint", shots=1)
    assert example.preamble.endswith("about common sense.\n\n")
    assert example.question.startswith("Question: The moon shines because it\nA. burns\n")
    assert example.choices == (" A", " B", " C", " D")


def test_rank_asks_of_each_passage_after_two_pairs() -> None:
    example = first("helm/msmarco-regular")
    assert example.question == (
        "Passage: A spectacled bear weighs between 60 and 155 kilograms.\n"
        "Query: how much does a spectacled bear weigh\n"
        "Does the passage answer the query?\nAnswer:"
    )
    assert example.choices == (" Yes", " No")
    assert len(example.shots) == 2
    for shot in example.shots:
        assert shot.count("Answer: Yes\n\n") == shot.count("Answer: No\n\n") == 1


def test_summaries_are_parted_by_marks() -> None:
    example = first("helm/cnn-dm", shots=2)
    assert example.question == (
        "###\nArticle: Paul Reed won the race on Sunday. He thanked his mother.\n\n"
        "Summarize the above article in 3 sentences."
    )
    assert example.shots[0].startswith("###\nArticle: The council of the small town")
    assert "in 3 sentences.\nThe council met about the old bridge. Trucks" in example.shots[0]
    task = tasks()["helm/cnn-dm"]
    assert task.generation is not None
    assert (task.generation.max_new_tokens, task.generation.stop) == (128, ("###",))
    assert first("helm/xsum").question.endswith("Summarize the above article in 1 sentence.")


def test_the_long_answer_is_read_with_the_book_open_only() -> None:
    assert first("helm/naturalquestions-closed").question == (
        "Question: How tall is the north tower?\nAnswer:"
    )
    assert first("helm/naturalquestions-open").question == (
        "Passage: The north tower is 61\xa0metres tall, the south tower 58.\n\n"
        "Question: How tall is the north tower?\nAnswer:"
    )


def test_a_dialogue_stops_at_its_question() -> None:
    example = first("helm/quac")
    assert example.question.startswith(
        "Title: Berg\n\nBackground: Berg is a town on the coast.\n\n"
    )
    assert "Section: Trade\nPassage: In 1310 merchants came to Berg." in example.question
    assert "CANNOTANSWER" not in example.question
    assert example.question.endswith("Question: Who was the first of them?\nAnswer:")
    # As HELM has it, the question before the one that is asked is left out.
    assert "Question: Who came in 1310?\nAnswer: merchants\n\nQuestion: Who" in example.question
    assert example.references == ("Frank", "Frank, the first")


def test_labels_are_named_in_raft() -> None:
    example = first("helm/raft/overruling")
    assert example.preamble == (
        "Classify the following text.\nPossible labels:\n1. not overruling\n2. overruling\n\n"
    )
    assert example.question.startswith("Sentence: The court ")
    assert example.question.endswith(".\nLabel:")


def test_answers_take_turns_among_the_shots() -> None:
    solved = [open_question(str(i), f"text {i}", ["No" if i % 3 else "Yes"]) for i in range(12)]
    drawn = draw_shots(solved, 5)
    assert [instance.answer for instance in drawn] == ["No", "Yes", "No", "Yes", "No"]
    assert len({instance.id for instance in drawn}) == 5
    assert drawn == draw_shots(solved, 5)
    assert drawn != draw_shots(solved, 5, seed=1)
    assert Counter(i.answer for i in draw_shots(solved, 50)) == Counter(i.answer for i in solved)
    assert draw_shots([], 5) == []


def test_formats_end_without_a_space() -> None:
    instance = Instance("1", "What?", ("a", "b"), (1,))
    for form in (Write("Answer", "Question"), Joint(), Rank()):
        for question in form.questions(instance):
            assert question.text == question.text.strip()


@pytest.mark.parametrize("shots", [0, 3])
def test_shots_can_be_fewer(shots: int) -> None:
    assert len(first("helm/imdb", shots=shots).shots) == shots
