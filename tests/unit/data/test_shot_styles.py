"""Layouts of solved examples: every text can be told from its neighbours."""

from __future__ import annotations

import random

import pytest

from brulee.data.shot_styles import STYLES, Shown, Style, first_clear

Pairs = list[tuple[str, str]]
EXAMPLES: Pairs = [("The soup was cold.", "complaint"), ("We shall be back!", "praise")]
PROMPT = "Nobody answered the bell."


def read_back(style: Style, text: str, instruction: str = "") -> Pairs:
    """The pairs of a prompt without cues, and the last one's prompt, found by the marks alone."""
    for before in (instruction, style.opening):
        if before:
            assert text.startswith(f"{before}\n\n")
            text = text.removeprefix(f"{before}\n\n")
    *blocks, last = text.split(style.separator)
    assert last.endswith(style.answer.rstrip())
    last = last.removesuffix(style.answer.rstrip()) + style.answer
    pairs = []
    for number, block in enumerate([*blocks, last], start=1):
        start = style.head.format(n=number) + style.question
        assert block.startswith(start)
        prompt, completion = block.removeprefix(start).split(style.answer)
        pairs.append((prompt, completion))
    return pairs


def test_there_are_at_least_twelve_styles_and_no_two_look_alike() -> None:
    assert len(STYLES) >= 12
    cued = [(f"{prompt} Kind:", completion) for prompt, completion in EXAMPLES]
    assert len({style.lay_out(Shown(EXAMPLES, PROMPT)) for style in STYLES.values()}) == len(STYLES)
    assert len({style.lay_out(Shown(cued, f"{PROMPT} Kind:")) for style in STYLES.values()}) >= 12


@pytest.mark.parametrize("name", STYLES)
def test_no_text_of_a_style_holds_another_of_its_marks(name: str) -> None:
    style = STYLES[name]
    others = [style.question, style.answer, style.joint, style.head, style.opening]
    assert not [text for text in others if style.separator in text]
    assert style.answer.strip() or style.answer == "\n"
    assert style.answer not in style.question + style.head.rstrip("\n")


@pytest.mark.parametrize("name", STYLES)
def test_examples_and_question_are_found_by_the_marks_alone(name: str) -> None:
    style = STYLES[name]
    assert style.is_clear(Shown(EXAMPLES, PROMPT))
    assert read_back(style, style.lay_out(Shown(EXAMPLES, PROMPT))) == [*EXAMPLES, (PROMPT, "")]
    told = style.lay_out(Shown(EXAMPLES, PROMPT, "Sort these."))
    assert read_back(style, told, "Sort these.") == [*EXAMPLES, (PROMPT, "")]


@pytest.mark.parametrize("name", STYLES)
def test_the_prompt_ends_where_the_answer_begins(name: str) -> None:
    style = STYLES[name]
    prompt = style.lay_out(Shown(EXAMPLES, PROMPT))
    assert prompt == prompt.rstrip()
    assert prompt.endswith(PROMPT + style.answer.rstrip())
    assert "complaint" in prompt
    assert "praise" in prompt


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("cue", [":", ">>", "=>", " ="])
def test_a_prompt_with_a_cue_of_its_own_gets_no_second_one(name: str, cue: str) -> None:
    style = STYLES[name]
    examples = [(f"{prompt} Kind{cue}", completion) for prompt, completion in EXAMPLES]
    prompt = style.lay_out(Shown(examples, f"{PROMPT} Kind{cue}"))
    assert prompt.endswith(f"{PROMPT} Kind{cue}")
    for shown, completion in examples:
        assert f"{shown}{style.joint}{completion}{style.separator}" in prompt
    assert len(prompt.removeprefix(f"{style.opening}\n\n").split(style.separator)) == 3


def test_a_cue_that_one_prompt_lacks_is_not_relied_on() -> None:
    prompt = STYLES["q-a"].lay_out(Shown(EXAMPLES, "One thing is clear:"))
    assert prompt.endswith("Q: One thing is clear:\nA:")


@pytest.mark.parametrize("name", STYLES)
def test_a_style_is_passed_over_where_a_text_holds_its_marks(name: str) -> None:
    style = STYLES[name]
    for mark in (style.separator, style.answer):
        for examples, prompt in (
            ([("a", f"b{mark}c")], "d"),
            ([(f"a{mark}b", "c")], "d"),
            ([("a", "b")], f"c{mark}d"),
        ):
            assert not style.is_clear(Shown(examples, prompt))
            assert first_clear([style], Shown(examples, prompt)) != style


def test_a_mark_without_its_white_space_counts_too() -> None:
    ending = [("The rule ---", "a")]
    assert not STYLES["dashes"].is_clear(Shown(ending, "b"))
    assert STYLES["stars"].is_clear(Shown(ending, "b"))


def test_texts_full_of_marks_are_still_told_apart() -> None:
    marks = [m for s in STYLES.values() for m in (s.separator, s.question, s.answer) if m]
    scraps = [*marks, "=====", "-----", "=" * 9, "word", " ", "\n", "?"]
    draw = random.Random(5)
    ruled = 0
    for _ in range(500):
        texts = ["".join(draw.choices(scraps, k=9)).strip() + "." for _ in range(7)]
        examples = [(texts[0], texts[1]), (texts[2], texts[3]), (texts[4], texts[5])]
        styles = draw.sample(list(STYLES.values()), len(STYLES))
        style = first_clear(styles, Shown(examples, texts[6]))
        ruled += style not in STYLES.values()
        assert read_back(style, style.lay_out(Shown(examples, texts[6]))) == [
            *examples,
            (texts[6], ""),
        ]
    assert ruled > 100


@pytest.mark.parametrize("name", STYLES)
def test_a_sentence_that_breaks_off_is_finished_by_the_answer(name: str) -> None:
    style = STYLES[name]
    shown = Shown([("Rain is", "wet")], "Snow is", unfinished=True)
    whole = f"Rain is{style.joint}wet{style.separator}{style.head.format(n=2)}Snow is"
    assert style.lay_out(shown).endswith(whole)
