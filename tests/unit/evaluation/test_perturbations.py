"""Perturbations: what they change, what they leave, and that they do it again."""

import random
import re

import pytest

from brulee.errors import InputError
from brulee.evaluation import word_lists
from brulee.evaluation.perturbations import CANONICAL, PERTURBATIONS, perturbation, perturbed
from brulee.evaluation.perturbations.base import Substitution, match_case
from brulee.evaluation.perturbations.noise import MildMix, Misspellings
from brulee.evaluation.perturbations.speech import Dialect

TEXT = "I am sure that Adam did not tell his father about the Government's plan."


def change(name: str, *texts: str, key: str = "7", seed: int = 0) -> list[str]:
    return perturbed(perturbation(name), name, key, texts, seed)


def test_each_changes_the_text_and_only_as_its_name_says() -> None:
    assert change("lowercase", TEXT) == [TEXT.lower()]
    contracted = TEXT.replace("I am", "I'm").replace("did not", "didn't")
    assert change("contractions", TEXT) == [contracted]
    assert change("gender-pronouns", TEXT) == [TEXT.replace("his", "her")]
    assert change("gender-terms", TEXT) == [TEXT.replace("father", "mother")]
    assert re.sub(" +", " ", change("spaces", TEXT)[0]) == TEXT
    assert "Adam" not in change("first-names", TEXT)[0]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_same_item_and_seed_give_the_same_text_and_others_are_drawn_anew(name: str) -> None:
    long = " ".join([TEXT] * 20)
    assert change(name, long) == change(name, long)
    drawn = {change(name, long, key=str(i))[0] for i in range(5)}
    drawn |= {change(name, long, seed=i)[0] for i in range(5)}
    by_chance = name in {"mild-mix", "dialect", "first-names", "misspellings", "spaces"}
    assert (len(drawn) > 1) == by_chance


def test_mistakes_leave_the_answers_alone_and_speech_does_not() -> None:
    answers = ["It is Not his", "His father"]
    assert change("mild-mix", TEXT, *answers)[1:] == answers
    assert change("gender-pronouns", TEXT, *answers)[1:] == ["It is Not her", "Her father"]


def test_a_name_becomes_the_same_name_in_question_and_answer_and_keeps_its_gender() -> None:
    question, answer = change("first-names", "Emily met Josh. EMILY left.", "Emily's car")
    name = answer.removesuffix("'s car")
    assert name in word_lists.bundled("first_names")["black_female"]
    assert question.startswith(f"{name} met ")
    assert f"{name.upper()} left." in question


def test_words_are_found_whole_and_the_longest_first() -> None:
    words = Substitution({"that is": ["A"], "that": ["B"], "can": ["C"]})
    text = "That is that; thatch, that-ish, can't, that's, ’that"
    expected = "A B; thatch, that-ish, can't, B's, ’that"
    assert words.change(text, random.Random(0)) == expected


def test_a_tenth_of_the_known_words_is_misspelt() -> None:
    text = " ".join(["because"] * 5000)
    (changed,) = Misspellings().change([text], random.Random(0))
    share = sum(word != "because" for word in changed.split()) / 5000
    assert 0.08 < share < 0.12


def test_gaps_are_one_to_three_spaces_wide_and_lines_stay() -> None:
    (changed,) = MildMix().change(["a b " * 300 + "\nend"], random.Random(1))
    assert {len(gap) for gap in re.findall(" +", changed)} == {1, 2, 3}
    assert changed.count("\n") == 1


def test_case_is_taken_over() -> None:
    assert match_case("HE", "she") == "SHE"
    assert match_case("He", "she") == "She"
    assert match_case("he", "she") == "she"
    assert match_case("I", "we") == "We"


def test_a_dialect_can_be_given() -> None:
    assert Dialect({"lift": ("elevator",)}).change(["Lift"], random.Random(0)) == ["Elevator"]


def test_the_canonical_ones_are_known_and_an_unknown_one_is_named() -> None:
    assert set(CANONICAL) <= set(PERTURBATIONS)
    with pytest.raises(InputError, match=r"unknown perturbation 'dialekt'.*'dialect'"):
        perturbation("dialekt")
